"""Writing texts: every row of a batch under its own prompt, token after token.

A row's prompt is picked by its number, as everywhere: keys and values of deep prompts join in every step, vectors among
the embeddings in the first one, which reads the row. A row may stand in the batch under several prompts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.backbone import PromptStates
from pipeline.errors import InputError
from pipeline.model import PromptedModel
from pipeline.padding import turned
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
    tokenizer = model.backbone.tokenizer
    return [
        tokenizer.decode(text, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
        for text in write_tokens(model, batch, how)
    ]


@torch.no_grad()
def write_tokens(model: PromptedModel, batch: Batch, how: Decoding) -> list[list[int]]:
    """As `write`, the tokens of each text without the one that ends it."""
    from pipeline.backbone.writer import Writer, cache_of

    rows = _Rows(model, batch)
    backbone, tokenizer = model.backbone, model.backbone.tokenizer
    # What a decoder of its own writes has the context to itself, its start token included.
    context, needed = backbone.info.context, rows.ids.shape[1] + how.max_new_tokens
    if context is not None and needed > context:
        what = "a row, its prompt and its text have no room in the backbone's context"
        hint = "lower decoding.max_new_tokens or max_tokens"
        raise InputError(what, found=needed, expected=f"at most {context}", hint=hint)
    end = end_of_text(tokenizer)
    pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    beams = {"num_beams": how.beams, "length_penalty": how.length_penalty} if how.beams > 1 else {}
    writer = Writer(rows.step, backbone.info.vocabulary, rows.ids.device)
    cache = cache_of(backbone)
    return writer.write(rows.ids, rows.mask, cache, end, pad, max_new_tokens=how.max_new_tokens, **beams)


class _Rows:
    """The rows of a batch as they are written on.

    Attributes:
        ids, mask: [B, T] what is written on, padded on the left: the rows, or a decoder's start token.
    """

    def __init__(self, model: PromptedModel, batch: Batch) -> None:
        self.backbone = model.backbone
        length = batch.answer.int().argmax(1)[batch.example] + 1  # [B] tokens that are read of each row
        ids = batch.input_ids[batch.example][:, : int(length.max())]  # [B, T]
        mask = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
        self.states: PromptStates | None = None
        self.vectors: Tensor | None = None  # [S, E] of input prompts
        soft = torch.full_like(ids, -1)  # [B, T] which vector stands in place of a token's own; -1 for none
        if model.bank is not None:
            self.states = model.states(batch.prompt)
            if any(model.bank.layouts[n] for n in set(batch.prompt.tolist())):
                ids, mask, soft = self._put_in(model.bank, batch.prompt, ids, mask)
        self.memory: Tensor | None = None
        self.memory_mask = mask
        if self.backbone.info.decodes:
            inserted = self._inserted(soft)
            self.memory = self.backbone(ids, mask, prompts=self.states, inserted=inserted)  # [B, T, M], once
            config: Any = self.backbone.model.config
            ids = torch.full_like(ids[:, :1], config.decoder_start_token_id)
            mask, soft = torch.ones_like(ids, dtype=torch.bool), torch.full_like(ids, -1)
        before = mask.sum(1) - ids.shape[1]  # to the right: the next token stands behind each row's last
        self.ids, self.mask, self.soft = (turned(each, before) for each in (ids, mask, soft))

    def _put_in(self, bank: PromptBank, prompt: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rows with their input prompts: ids, mask and which vector stands where, [B, W]."""
        tokenizer = self.backbone.tokenizer
        chosen, index = torch.unique(prompt, return_inverse=True)
        layouts = [bank.layouts[n] for n in chosen.tolist()]
        places = [bank.lengths[n] if layout else 0 for n, layout in zip(chosen.tolist(), layouts, strict=True)]
        special = torch.tensor(tokenizer.all_special_ids, device=ids.device)
        pad = tokenizer.pad_token_id or 0
        wide = arrange(ids, mask, None, index, layouts, places, special, pad, tokenizer.mask_token_id)
        self.vectors = bank.vectors(chosen.tolist(), places)  # [S, E]
        soft = torch.full_like(wide.input_ids, -1)
        soft.view(-1)[wide.place] = wide.source
        return wide.input_ids, wide.attention_mask, soft

    def _inserted(self, soft: Tensor) -> tuple[Tensor, Tensor] | None:
        """The vectors of some rows and where they stand, as `Backbone.forward` takes them."""
        if self.vectors is None:
            return None
        place = (soft.flatten() >= 0).nonzero()[:, 0]
        return place, self.vectors[soft.flatten()[place]]

    def step(self, tokens: Tensor, mask: Tensor, cache: Any, row: Tensor) -> Tensor:
        """The scores of the next token, see `Step`: beams of a row have its prompt, and what was read of it."""
        from pipeline.backbone.writer import read_on

        states = None if self.states is None else replace(self.states, index=self.states.index[row])
        if self.memory is None:
            inserted = None if cache.get_seq_length() else self._inserted(self.soft[row])
            hidden = read_on(self.backbone, tokens, mask, cache, states, inserted)  # [B, T, M]
        else:
            memory = self.memory[row], self.memory_mask[row]
            hidden = self.backbone.decode(tokens, mask.bool(), *memory, prompts=states, past=cache)
        return self.backbone.scores(hidden[:, -1])
