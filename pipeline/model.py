"""One frozen backbone, many prompts, one batch: the one forward pass of deepprompt.

Every row of a batch says which example it holds (`example`), which prompt it runs under (`prompt`) and which head
answers it (`head`). Pretraining, search, ensembling and serving are this forward pass with different maps:

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
from torch.nn import functional as F

from pipeline.backbone import Backbone, PromptStates
from pipeline.errors import InputError
from pipeline.prompts import PromptBank, arrange
from pipeline.tasks import Answers, Batch, HeadBank


class PromptedModel(nn.Module):
    """A frozen backbone with a bank of prompts and a bank of heads.

    Args:
        backbone: frozen; whole or sharded.
        bank: the prompts in play; None for the bare backbone.
        heads: the heads in play.
        pooling: what a sentence's vector is: "mean" over its tokens, the "first" token, or the "last".
    """

    def __init__(self, backbone: Backbone, bank: PromptBank | None, heads: HeadBank, pooling: str = "mean") -> None:
        super().__init__()
        self.backbone = backbone
        self.bank = bank
        self.heads = heads
        self.pooling = pooling

    def trainable(self) -> list[nn.Parameter]:
        """The prompts and the heads, in a fixed order: all that is ever trained, saved or reduced over workers."""
        return [p for module in (self.bank, self.heads) if module is not None for p in module.parameters()]

    def forward(self, batch: Batch, *, places: int | None = None, first_layer: int = 0) -> Answers:
        """Answers and losses of a batch of rows, each under its own prompt and head.

        Args:
            places, first_layer: cut every prompt to its first places and to its layers from there on (nested prompts).
        """
        mask = batch.attention_mask[batch.example]  # [B, T]
        if self.bank is None:
            types = None if batch.token_type_ids is None else batch.token_type_ids[batch.example]
            hidden = self.backbone(batch.input_ids[batch.example], mask, types)
        else:
            hidden = self._prompted(batch, self.bank, places, first_layer)
        row, column = batch.answer[batch.example].nonzero(as_tuple=True)  # [A], [A]
        vectors = self.vectors(hidden, mask, batch.head, row, column)
        return self.heads(vectors, row, batch.labels[batch.example[row], column], batch.head)

    def _prompted(self, batch: Batch, bank: PromptBank, places: int | None, first_layer: int) -> Tensor:
        """Hidden states [B, T, M]: rows go through the backbone in the order of their first layers, and come back."""
        begins = [max(first, first_layer) for first in bank.first_layers]
        chosen = sorted(set(batch.prompt.tolist()), key=lambda n: (begins[n], n))  # K
        firsts = [begins[n] for n in batch.prompt.tolist()]  # [B]
        order = sorted(range(batch.size), key=firsts.__getitem__)
        moved = order != list(range(batch.size))
        place = torch.tensor(order, device=batch.prompt.device)
        example, prompt = (t[place] if moved else t for t in (batch.example, batch.prompt))
        firsts.sort()
        lengths = [min(bank.lengths[n], places or bank.lengths[n]) for n in chosen]
        deep = [0 if bank.layouts[n] else length for n, length in zip(chosen, lengths, strict=True)]
        among = {n: k for k, n in enumerate(chosen)}
        stacked = bank.stack(chosen, deep, [begins[n] for n in chosen])
        states = PromptStates(
            # cast here, once per prompt, and not in the attention, once per row
            layers={layer: prompts.to(self.backbone.dtype) for layer, prompts in stacked.items()},
            index=torch.tensor([among[n] for n in prompt.tolist()], device=prompt.device),
            lengths=deep,
            firsts=firsts,
            entering=self._entering(batch, example, firsts),
        )
        ids, mask = batch.input_ids[example], batch.attention_mask[example]  # [B, T]
        types = None if batch.token_type_ids is None else batch.token_type_ids[example]
        if any(bank.layouts[n] for n in chosen):
            shallow = [0 if bank.layouts[n] is None else length for n, length in zip(chosen, lengths, strict=True)]
            head = batch.head[place] if moved else batch.head
            hidden = self._with_input_prompts(bank, chosen, shallow, ids, mask, types, states, head)
        else:
            hidden = self.backbone(ids, mask, types, prompts=states)
        return hidden[place.argsort()] if moved else hidden

    def _with_input_prompts(
        self,
        bank: PromptBank,
        chosen: Sequence[int],
        places: Sequence[int],
        ids: Tensor,
        mask: Tensor,
        types: Tensor | None,
        states: PromptStates,
        head: Tensor,
    ) -> Tensor:
        """Hidden states [B, T, M] of the rows' own tokens; on the way the rows are as wide as their prompts make them.

        So whatever reads answers finds them where the task put them: no soft token is pooled or labelled (PEFT pools
        one, and does not shift labels). Where a template says where the answer is read, and where a decoder has seen a
        whole row only at its last, soft, token, a sentence reads there.
        """
        tokenizer = self.backbone.tokenizer
        layouts = [bank.layouts[n] for n in chosen]
        special = torch.tensor(tokenizer.all_special_ids, device=ids.device)
        pad, label = tokenizer.pad_token_id or 0, tokenizer.mask_token_id
        wide = arrange(ids, mask, types, states.index, layouts, places, special, pad, label)
        needed, most = int(wide.last.max()) + 1, self.backbone.info.context
        if most is not None and needed > most:
            hint = "soft tokens among the embeddings take positions: leave room for them (max_tokens)"
            raise InputError("a row has no room for its prompt", found=needed, expected=f"at most {most}", hint=hint)
        vectors = bank.vectors(chosen, places).index_select(0, wide.source)  # [S, E]
        beyond = wide.input_ids.shape[1] - ids.shape[1]
        states.entering = {layer: F.pad(rows, (0, 0, 0, beyond)) for layer, rows in states.entering.items()}
        hidden = self.backbone(
            wide.input_ids, wide.attention_mask, wide.token_type_ids, prompts=states, inserted=(wide.place, vectors)
        )  # [B, W, M]
        read = wide.read.where(wide.read >= 0, wide.last) if self.pooling == "last" else wide.read
        elsewhere = (self.heads.pooled[head] & (read >= 0))[:, None]
        column = read[:, None].where(elsewhere, wide.column)  # [B, T]
        return hidden.gather(1, column[..., None].expand(-1, -1, hidden.shape[2]))

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

    def vectors(self, hidden: Tensor, mask: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """What each answer reads: the hidden state at its position, or its sentence's pooled vector.

        Args:
            hidden: [B, T, M]. mask: [B, T]. head: [B]. row, column: [A], the answers' places in the batch.

        Returns:
            [A, M].
        """
        vectors = hidden[row, column]
        of_sentence = self.heads.pooled[head][row]  # [A] bool
        if self.pooling == "first" or not bool(of_sentence.any()):
            return vectors
        rows = row[of_sentence]  # [S], one answer per sentence
        seen = mask[rows]  # [S, T]
        if self.pooling == "last":
            last = seen.shape[1] - 1 - seen.flip(1).int().argmax(1)  # [S]
            pooled = hidden[rows, last]  # [S, M]
        else:
            weight = seen.unsqueeze(1).to(hidden.dtype)  # [S, 1, T]
            whole = hidden if len(rows) == len(hidden) else hidden[rows]
            pooled = torch.bmm(weight, whole).squeeze(1) / weight.sum(2)  # [S, M]
        return vectors.index_copy(0, of_sentence.nonzero()[:, 0], pooled)
