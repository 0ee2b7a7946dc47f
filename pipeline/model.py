"""One frozen backbone, many prompts, one batch: the one forward pass of deepprompt.

Every row of a batch says which prompt it runs under (`prompt`) and which head answers it (`head`). Pretraining, search,
ensembling and serving are this forward pass with different row → prompt maps:

    tokens [B, T] ──► frozen backbone, each layer's attention ──► hidden [B, T, M] ──► heads ──► answers, losses [B]
                       ▲ keys, values of prompt[b]  [2, H, P, D]
    prompt bank [N, L, 2, H, P, D] ── prompt [B] ──┘
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.backbone import Backbone, PromptStates
from pipeline.prompts import PromptBank
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

    def forward(self, batch: Batch) -> Answers:
        """Answers and losses of a batch of rows, each under its own prompt and head."""
        hidden = self.backbone(  # [B, T, M]
            batch.input_ids, batch.attention_mask, batch.token_type_ids, prompts=self.prompts_of(batch.prompt)
        )
        row, column = batch.answer.nonzero(as_tuple=True)  # [A], [A]
        vectors = self.vectors(hidden, batch, row, column)
        return self.heads(vectors, row, batch.labels[row, column], batch.head)

    def prompts_of(self, prompt: Tensor) -> PromptStates | None:
        """The bank's tensors for the rows' prompts [B], handed to the attention seam.

        Only prompts that some row uses leave the bank, and places beyond the longest of them are cut: the rest of the
        bank costs nothing.
        """
        if self.bank is None:
            return None
        chosen, index = torch.unique(prompt, return_inverse=True)  # [K], [B]
        lengths = self.bank.lengths.index_select(0, chosen)  # [K]
        places = int(lengths.max())
        whole = len(chosen) == len(self.bank)
        layers = [layer[..., :places, :] for layer in self.bank(None if whole else chosen)]
        return PromptStates(layers, index, lengths, self.bank.first_layer)

    def vectors(self, hidden: Tensor, batch: Batch, row: Tensor, column: Tensor) -> Tensor:
        """What each answer reads: the hidden state at its position, or its sentence's pooled vector.

        Args:
            hidden: [B, T, M]. row, column: [A], the answers' places in the batch.

        Returns:
            [A, M].
        """
        vectors = hidden[row, column]
        of_sentence = self.heads.pooled[batch.head][row]  # [A] bool
        if self.pooling == "first" or not bool(of_sentence.any()):
            return vectors
        rows = row[of_sentence]  # [S], one answer per sentence
        mask = batch.attention_mask[rows]  # [S, T]
        if self.pooling == "last":
            last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)  # [S]
            pooled = hidden[rows, last]  # [S, M]
        else:
            weight = mask.unsqueeze(1).to(hidden.dtype)  # [S, 1, T]
            whole = hidden if len(rows) == len(hidden) else hidden[rows]
            pooled = torch.bmm(weight, whole).squeeze(1) / weight.sum(2)  # [S, M]
        return vectors.index_copy(0, of_sentence.nonzero()[:, 0], pooled)
