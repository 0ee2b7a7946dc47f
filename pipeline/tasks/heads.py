"""The heads of a batch: linear maps from hidden states to label scores, stacked like the prompts.

A classification row is a token row with a single answer position, whose vector is the pooled hidden state. So one
linear map per head serves sentences, pairs and tags, and one loss serves all (P-tuning v2, section 3.3: a
classification head on the hidden states instead of a verbalizer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.tasks.batching import IGNORED


@dataclass(frozen=True)
class Answers:
    """What a batch answered.

    Args:
        row: [A] the row of each answer, ascending.
        logits: one [A_h, C_h] per head in use, fp32.
        place: one [A_h] per head in use: where its answers stand among the A.
        heads: the heads in use, same order.
        loss: [B] cross entropy per row, mean over its labelled answers; 0 for a row without labels.
    """

    row: Tensor
    logits: tuple[Tensor, ...]
    place: tuple[Tensor, ...]
    heads: tuple[int, ...]
    loss: Tensor


class HeadBank(nn.Module):
    """N linear heads on hidden states of width M, each a parameter of its own, like the prompts.

    Args:
        classes: the number of labels of each head.
        width: M.
        seeds: where each head's weights start, one seed per head.
        kinds: "cls" for a head that reads a sentence's pooled vector, "token" for one that reads words.
    """

    def __init__(self, classes: Sequence[int], width: int, seeds: Sequence[int], kinds: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.weights = nn.ParameterList(
            [torch.randn(count, width, generator=draw) * 0.02 for count, draw in zip(classes, draws, strict=True)]
        )  # each [C_n, M]
        self.biases = nn.ParameterList([torch.zeros(count) for count in classes])  # each [C_n]
        self.pooled: Tensor
        self.register_buffer("pooled", torch.tensor([kind == "cls" for kind in kinds]))  # [N]

    def __len__(self) -> int:
        return len(self.classes)

    def forward(self, vectors: Tensor, row: Tensor, gold: Tensor, head: Tensor) -> Answers:
        """Scores every answer under its row's head.

        Args:
            vectors: [A, M], what each answer reads: a word's hidden state or a sentence's pooled one.
            row: [A], the row of each answer, ascending.
            gold: [A] class ids, `IGNORED` where there is none.
            head: [B], the head of each row.
        """
        vectors = vectors.float()
        owner = head[row]  # [A]
        loss = torch.zeros(len(row), device=row.device)
        logits, places, used = [], [], []
        for n in torch.unique(head).tolist():
            place = (owner == n).nonzero()[:, 0]  # [A_n]
            scores = F.linear(vectors[place], self.weights[n], self.biases[n])  # [A_n, C_n]
            losses = F.cross_entropy(scores, gold[place], reduction="none", ignore_index=IGNORED)  # [A_n]
            loss = loss.index_put((place,), losses)
            logits.append(scores)
            places.append(place)
            used.append(n)
        labelled = torch.zeros(len(head), device=row.device).index_add(0, row, (gold != IGNORED).float())  # [B]
        per_row = torch.zeros(len(head), device=row.device).index_add(0, row, loss) / labelled.clamp(min=1)
        return Answers(row=row, logits=tuple(logits), place=tuple(places), heads=tuple(used), loss=per_row)

    @torch.no_grad()
    def bake(self, n: int) -> tuple[Tensor, Tensor]:
        """Head `n` as plain tensors: weight [C_n, M] and bias [C_n], fp32 on the CPU."""
        return self.weights[n].detach().cpu().clone(), self.biases[n].detach().cpu().clone()

    @torch.no_grad()
    def put(self, n: int, weight: Tensor, bias: Tensor) -> None:
        """Gives head `n` baked values, as `bake` returned them."""
        self.weights[n].copy_(weight)
        self.biases[n].copy_(bias)
