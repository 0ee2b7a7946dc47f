"""Writing texts: every row of a batch under its own prompt, token after token.

A row's prompt is picked by its number, as everywhere: keys and values of deep prompts join in every step, vectors among
the embeddings in the first one, which reads the row. A row may stand in the batch under several prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.backbone import Backbone, PromptStates
from pipeline.errors import InputError
from pipeline.model import PromptedModel
from pipeline.prompts import PromptBank, arrange
from pipeline.tasks import Batch
from pipeline.tasks.decoding import Decoding
from pipeline.tasks.encoding.encode import end_of_text


@torch.no_grad()
def write(model: PromptedModel, batch: Batch, how: Decoding) -> list[str]:
    """A text for each row [B] of a batch of a task that is written, from what stands before the row's first answer.

    Raises:
        InputError: a row, its prompt and the text have no room in the backbone's context.
    """
    tokenizer, bank = model.backbone.tokenizer, model.bank
    length = batch.answer.int().argmax(1)[batch.example] + 1  # [B] what is read of each row
    ids = batch.input_ids[batch.example][:, : int(length.max())]
    prompts = batch.prompt.tolist()
    firsts = [0 if bank is None else bank.first_layers[n] for n in prompts]
    texts: list[str] = [""] * batch.size
    for first in sorted(set(firsts)):  # in layers below a prompt there is nothing of it: rows of one depth go together
        own = [b for b, begins in enumerate(firsts) if begins == first]
        at = torch.tensor(own, device=ids.device)
        rows = _Rows(model, ids[at], length[at], batch.prompt[at], first)
        for b, text in zip(own, rows.write(how), strict=True):
            texts[b] = tokenizer.decode(text, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
    return texts


class _Rows:
    """Rows whose prompts begin at one layer.

    Args:
        ids: [B, T], padded on the right. length: [B] tokens of each. prompt: [B], places in the bank.
    """

    def __init__(self, model: PromptedModel, ids: Tensor, length: Tensor, prompt: Tensor, first: int) -> None:
        self.backbone: Backbone = model.backbone
        self.states: PromptStates | None = None
        self.vectors: Tensor | None = None
        mask = torch.arange(ids.shape[1], device=ids.device) < length[:, None]  # [B, T]
        soft = torch.full_like(ids, -1)  # [B, T] which vector stands in place of a token's own; -1 for none
        if model.bank is not None:
            chosen = sorted(set(prompt.tolist()))  # K
            index = torch.tensor([chosen.index(n) for n in prompt.tolist()], device=ids.device)
            self.states = _states(model.bank, self.backbone, chosen, index, first)
            if any(model.bank.layouts[n] for n in chosen):
                ids, mask, soft = self._put_in(model.bank, chosen, index, ids, mask)
        # to the left: the next token stands behind each row's last
        width = ids.shape[1]
        column = torch.arange(width, device=ids.device) - (width - mask.sum(1))[:, None]  # [B, T]
        self.mask = column >= 0
        self.ids, self.soft = (each.gather(1, column % width) for each in (ids, soft))

    def _put_in(
        self, bank: PromptBank, chosen: Sequence[int], index: Tensor, ids: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The rows with their input prompts: ids, mask and which vector stands where, [B, W]."""
        tokenizer, layouts = self.backbone.tokenizer, [bank.layouts[n] for n in chosen]
        places = [0 if bank.layouts[n] is None else bank.lengths[n] for n in chosen]
        special = torch.tensor(tokenizer.all_special_ids, device=ids.device)
        pad = tokenizer.pad_token_id or 0
        wide = arrange(ids, mask, None, index, layouts, places, special, pad, tokenizer.mask_token_id)
        self.vectors = bank.vectors(chosen, places)  # [S, E]
        soft = torch.full_like(wide.input_ids, -1)
        soft.view(-1)[wide.place] = wide.source
        return wide.input_ids, wide.attention_mask, soft

    def write(self, how: Decoding) -> list[list[int]]:
        """The tokens of each row's text."""
        from pipeline.backbone.writer import Writer, cache_of

        context, needed = self.backbone.info.context, self.ids.shape[1] + how.max_new_tokens
        if context is not None and needed > context:
            what = "a row, its prompt and its text have no room in the backbone's context"
            hint = "lower decoding.max_new_tokens or max_tokens"
            raise InputError(what, found=needed, expected=f"at most {context}", hint=hint)
        tokenizer = self.backbone.tokenizer
        end = end_of_text(tokenizer)
        beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
        writer = Writer(self._step, self.backbone.info.vocabulary, self.ids.device)
        pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        cache = cache_of(self.backbone)
        return writer.write(self.ids, self.mask, cache, end, pad, max_new_tokens=how.max_new_tokens, **beams)

    def _step(self, tokens: Tensor, mask: Tensor, cache: Any, row: Tensor) -> Tensor:
        from pipeline.backbone.writer import read_on

        states = None if self.states is None else replace(self.states, index=self.states.index[row])
        inserted = None
        if self.vectors is not None and not cache.get_seq_length():
            source = self.soft[row].flatten()
            place = (source >= 0).nonzero()[:, 0]
            inserted = place, self.vectors[source[place]]
        hidden = read_on(self.backbone, tokens, mask, cache, states, inserted)  # [B, T, M]
        return self.backbone.scores(hidden[:, -1])


def _states(bank: PromptBank, backbone: Backbone, chosen: Sequence[int], index: Tensor, first: int) -> PromptStates:
    """The deep prompts of some rows, all from one layer up; input prompts have no places in it."""
    deep = [0 if bank.layouts[n] else bank.lengths[n] for n in chosen]
    stacked = bank.stack(chosen, deep, [first] * len(chosen))
    return PromptStates({layer: prompts.to(backbone.dtype) for layer, prompts in stacked.items()}, index, deep)
