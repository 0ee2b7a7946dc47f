"""One frozen backbone, many prompts, one batch: the one forward pass of deepprompt.

Every row of a batch says which sequence it holds (`example`), which prompt it runs under (`prompt`), which head answers
it (`head`) and with which rows it is scored (`unit`). Pretraining, search, ensembling and serving are this forward pass
with different maps:

    examples [R, T] ──► layers below the prompts: the trunk, once per example, or read from the cache
                              │ example [B]: a row enters at its prompt's first layer
                              ▼
                        layers with prompts, in each one's attention ──► hidden [B, T, M] ──► heads ──► answers, losses
                              ▲ keys, values of prompt[b]  [2, H, P, D]; or vectors [P, E] among the row's embeddings
    prompt bank [N] ── prompt [B]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.backbone import Backbone, BackboneInfo, PromptStates
from pipeline.model.input_prompts import check_room, read_with_input_prompts
from pipeline.model.pooling import read_vectors
from pipeline.model.wording import decode_texts, decode_words, read_tokens, read_words
from pipeline.prompts import Encoder, Layout, PromptBank
from pipeline.tasks import Answers, Batch, HeadBank


def bank_on(
    info: BackboneInfo,
    prompts: Sequence[Tensor | Encoder],
    layouts: Sequence[Layout | None] | None = None,
    standing: Sequence[Sequence[int] | None] | None = None,
    moving: Sequence[bool] | None = None,
) -> PromptBank:
    """A bank of prompts on a backbone. standing: where each was trained; by default where the backbone says. moving:
    see `PromptBank`."""
    where = standing or [info.standing] * len(prompts)
    return PromptBank(prompts, info.layers, layouts, where, info.entrances, moving)


class PromptedModel(nn.Module):
    """A frozen backbone with a bank of prompts and a bank of heads.

    Args:
        backbone: frozen; whole or sharded.
        bank: the prompts in play; None for the bare backbone.
        heads: the heads in play.
    """

    def __init__(self, backbone: Backbone, bank: PromptBank | None, heads: HeadBank) -> None:
        super().__init__()
        self.backbone = backbone
        self.bank = bank
        self.heads = heads
        if not all(one.rows for one in heads.heads):
            backbone.open_vocabulary()

    def trainable(self) -> list[nn.Parameter]:
        """The prompts and the heads, in a fixed order: all that is ever trained, saved or reduced over workers."""
        return [p for module in (self.bank, self.heads) if module is not None for p in module.parameters()]

    def forward(self, batch: Batch, *, places: int | None = None, first_layer: int = 0) -> Answers:
        """Answers and losses of a batch of rows, each under its own prompt and head.

        Args:
            places, first_layer: cut every prompt to its first places and to its layers from there on (nested prompts).
        """
        batch = batch.padded_right()
        mask = batch.attention_mask[batch.example]  # [B, T]
        if self.bank is None:
            types = None if batch.token_type_ids is None else batch.token_type_ids[batch.example]
            hidden = memory = self.backbone(batch.input_ids[batch.example], mask, types)
            there = mask
        else:
            hidden, memory, there = self._prompted(batch, self.bank, places, first_layer)
        if self.backbone.info.decodes:

            def states(prompt: Tensor) -> PromptStates | None:
                return None if self.bank is None else self.states(prompt, places, first_layer)

            hidden = decode_texts(self.backbone, self.heads, batch, hidden, memory, there, states)
            said = decode_words(self.backbone, self.heads, batch, memory, there, states)
        else:
            said = read_words(self.backbone, self.heads, batch, hidden)
        row, column = batch.answer[batch.example].nonzero(as_tuple=True)  # [A], [A]
        second = None if batch.second is None else batch.second[batch.example]  # [B]
        vectors, more = read_vectors(self.heads, hidden, mask, batch.head, row, column, second)
        said |= read_tokens(self.backbone, self.heads, vectors, batch.head[row])
        at = batch.example[row], column
        targets = None if batch.targets is None else batch.targets[at]  # [A, W]
        return self.heads(vectors, row, batch.labels[at], batch.head, batch.unit, targets, said, more)

    def _prompted(
        self, batch: Batch, bank: PromptBank, places: int | None, first_layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states [B, T, M] of the rows' own tokens; with their soft tokens, [B, W, M], and which of these
        there are, [B, W]. Rows go through the backbone in the order of their first layers, and come back."""
        begins = [max(first, first_layer) for first in bank.first_layers]
        chosen = sorted(set(batch.prompt.tolist()), key=lambda n: (begins[n], n))  # K
        firsts = [begins[n] for n in batch.prompt.tolist()]  # [B]
        order = sorted(range(batch.size), key=firsts.__getitem__)
        moved = order != list(range(batch.size))
        place = torch.tensor(order, device=batch.prompt.device)
        example, prompt = (t[place] if moved else t for t in (batch.example, batch.prompt))
        firsts.sort()
        sizes = bank.lengths  # once: it looks at every prompt of the bank
        lengths = [min(sizes[n], places or sizes[n]) for n in chosen]
        states = self._stacked(bank, prompt, chosen, lengths, [begins[n] for n in chosen])
        states.firsts, states.entering = firsts, self._entering(batch, example, firsts)
        ids, mask = batch.input_ids[example], batch.attention_mask[example]  # [B, T]
        if any(bank.moving[n] for n in chosen):
            by = torch.tensor([sizes[n] if bank.moving[n] else 0 for n in chosen], device=prompt.device)
            states.moved = by[states.index]  # [B]
            check_room(self.backbone, (mask.sum(1) + states.moved).where(states.moved > 0, 0))
        types = None if batch.token_type_ids is None else batch.token_type_ids[example]
        if any(bank.layouts[n] for n in chosen):
            shallow = [0 if bank.layouts[n] is None else length for n, length in zip(chosen, lengths, strict=True)]
            head = batch.head[place] if moved else batch.head
            soft, answer = None if batch.soft is None else batch.soft[example], batch.answer[example]
            found = read_with_input_prompts(
                self.backbone, self.heads, bank, chosen, shallow, ids, mask, types, states, head, soft, answer
            )
        else:
            hidden = self.backbone(ids, mask, types, prompts=states)
            found = hidden, hidden, mask
        own, whole, there = (each[place.argsort()] for each in found) if moved else found
        return own, whole, there

    def states(self, prompt: Tensor, places: int | None = None, first_layer: int = 0) -> PromptStates:
        """The deep prompts of rows [B] that all begin at the embeddings, in any order: for writing token by token.

        The same for every part of a pass: `Backbone.forward`, `Backbone.decode`, and each step of `generate` (where
        beams are `PromptStates.repeated`). Of one that begins higher up the layers below see nothing.
        """
        assert self.bank is not None
        chosen, sizes = sorted(set(prompt.tolist())), self.bank.lengths
        lengths = [min(sizes[n], places or sizes[n]) for n in chosen]
        return self._stacked(self.bank, prompt, chosen, lengths, [first_layer] * len(chosen))

    def _stacked(
        self, bank: PromptBank, prompt: Tensor, chosen: Sequence[int], lengths: Sequence[int], begins: Sequence[int]
    ) -> PromptStates:
        """The deep prompts of rows [B]: of the chosen K of the bank those places and layers; of input prompts none."""
        deep = [0 if bank.layouts[n] else length for n, length in zip(chosen, lengths, strict=True)]
        stacked, absent = bank.stack(chosen, deep, begins)
        among = {n: k for k, n in enumerate(chosen)}
        return PromptStates(
            # cast here, once per prompt, and not in the attention, once per row
            layers={layer: prompts.to(self.backbone.dtype) for layer, prompts in stacked.items()},
            index=torch.tensor([among[n] for n in prompt.tolist()], device=prompt.device),
            lengths=deep,
            absent=absent,
        )

    def _entering(self, batch: Batch, example: Tensor, firsts: list[int]) -> dict[int, Tensor]:
        """Layer → the activations [B_l, T, M] of the rows that enter there; those from layer 0 need none."""
        layers = sorted(set(firsts) - {0})
        known = {layer: batch.trunk[layer] for layer in layers if layer in batch.trunk}
        missing = [layer for layer in layers if layer not in known]
        if missing:
            known |= self.backbone.trunk(batch.input_ids, batch.attention_mask, batch.token_type_ids, missing)
        entering = {}
        for layer in layers:
            start, stop = firsts.index(layer), len(firsts) - firsts[::-1].index(layer)
            entering[layer] = known[layer][example[start:stop]]
        return entering
