"""The heads of a batch: linear maps from hidden states to scores, stacked like the prompts.

A classification row is a token row with a single answer position, whose vector is the pooled hidden state. So one
linear map per head serves every task, and one loss serves all; what the scores mean is the head's scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.tasks.scoring.scales import Gold, Scale
from pipeline.tasks.scoring.verbalizer import Verbalizer

Pooling = Literal["mean", "first", "last", "prompt", "pair"]
PAIR_PARTS = 4
"""What a head reads of two texts: u, v, |u - v| and u * v, their means, how these differ and how they agree."""


@dataclass(frozen=True)
class Head:
    """What a head is beside its numbers.

    Args:
        outputs: C. scale: what they mean.
        pooling: what it reads of a sequence: the "mean" of its tokens, the "first" one or the "last"; the first soft
            one of its "prompt", as PEFT does; both texts of a "pair" (see `PAIR_PARTS`; Reimers & Gurevych 2019,
            section 3); None for the tokens where the sequence answers.
        by_targets: whether its gold is a batch's `targets`; else its class ids.
        verbalizer: what scores its labels in place of numbers of its own; None for a linear map.
        written: whether the backbone's language-model head answers as it is, with a token.
        bent: whether a layer of its own, M to M and tanh, comes before its scores, as transformers' classes for BERT
            and RoBERTa have it.
    """

    outputs: int
    scale: Scale
    pooling: Pooling | None = None
    by_targets: bool = False
    verbalizer: Verbalizer | None = None
    written: bool = False
    bent: bool = False

    @property
    def rows(self) -> int:
        """Rows of its linear map: C, or none."""
        return self.outputs if self.verbalizer is None and not self.written else 0

    @property
    def parts(self) -> int:
        """How many vectors of the backbone's width it reads at once."""
        return parts_of(self.pooling)

    @property
    def reads(self) -> Literal["first", "all"]:
        """Which of the last layer's hidden states it may read: the first token's only, or any."""
        return "first" if self.pooling == "first" else "all"


def parts_of(pooling: str | None) -> int:
    """How many vectors of width M a head reads at once: its linear map is [C, parts x M]."""
    return PAIR_PARTS if pooling == "pair" else 1


@dataclass(frozen=True)
class Answers:
    """What a batch answered.

    Args:
        row: [A] the row of each answer, ascending.
        logits: one [A_h, C_h] per head in use, fp32.
        place: one [A_h] per head in use: where its answers stand among the A.
        heads: the heads in use, same order.
        unit: one [A_h] per head in use: the unit of each answer, counted from the head's first.
        loss: [U] per unit, see `Evidence.loss`.
    """

    row: Tensor
    logits: tuple[Tensor, ...]
    place: tuple[Tensor, ...]
    heads: tuple[int, ...]
    unit: tuple[Tensor, ...]
    loss: Tensor


class HeadBank(nn.Module):
    """N linear heads on hidden states of width M, each a parameter of its own, like the prompts.

    Args:
        heads: what each is.
        width: M.
        seeds: where each head's weights start, one seed per head.
    """

    written: Tensor
    """[N] bool, see `Head.written`."""

    def __init__(self, heads: Sequence[Head], width: int, seeds: Sequence[int]) -> None:
        super().__init__()
        self.heads = tuple(heads)
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.weights = nn.ParameterList(
            [
                torch.randn(one.rows, one.parts * width, generator=draw) * 0.02
                for one, draw in zip(heads, draws, strict=True)
            ]
        )  # each [C_n, M], of a pair [C_n, 4M]; [0, M] of a verbalizer
        self.biases = nn.ParameterList([torch.zeros(one.rows) for one in heads])  # each [C_n]
        self.bends = nn.ModuleDict({str(n): nn.Linear(width, width) for n, one in enumerate(heads) if one.bent})
        self.register_buffer("written", torch.tensor([one.written for one in heads]), persistent=False)
        self.register_buffer("verbal", torch.tensor([one.verbalizer is not None for one in heads]), persistent=False)
        for pooling in get_args(Pooling):
            pooled = torch.tensor([one.pooling == pooling for one in heads])  # [N]
            self.register_buffer(pooling, pooled, persistent=False)

    def __len__(self) -> int:
        return len(self.heads)

    def answered_by_words(self, head: Tensor) -> Tensor:
        """Which rows with these heads [B] a verbalizer answers; [B] bool."""
        verbal: Any = self.verbal
        rows: Tensor = verbal[head]
        return rows

    def pooled(self, head: Tensor, pooling: str | None = None) -> Tensor:
        """Which rows with these heads [B] answer once, read as `pooling` says, or in any way; [B] bool."""
        ways = get_args(Pooling) if pooling is None else (pooling,)
        of_heads = torch.stack([getattr(self, way) for way in ways]).any(0)
        return of_heads[head]

    def forward(
        self,
        vectors: Tensor,
        row: Tensor,
        labels: Tensor,
        head: Tensor,
        unit: Tensor,
        targets: Tensor | None = None,
        said: Mapping[int, Tensor] | None = None,
        more: Tensor | None = None,
    ) -> Answers:
        """Scores every answer under its row's head.

        Args:
            vectors: [A, M], what each answer reads: a word's hidden state or a sequence's pooled one.
            row: [A], the row of each answer, ascending.
            labels: [A] class ids, `IGNORED` where there is none. targets: [A, W], see `Batch`.
            head: [B], the head of each row. unit: [B], its unit.
            said: of each head in use without a linear map the scores of its answers, [A_n, C_n].
            more: [S, 3M], what the S answers to pairs read besides; None where there are none.
        """
        vectors = vectors.float()
        owner, units = head[row], int(unit[-1]) + 1
        # One look at all answers says which are whose: a GPU would wait at each of the heads otherwise.
        pairs, inverse = torch.unique(owner * units + unit[row], return_inverse=True)  # [S] a head and a unit; [A]
        order = owner.argsort(stable=True)
        counts = torch.stack([torch.bincount(one, minlength=len(self)) for one in (head, owner, pairs // units)])
        among = self.pooled(head, "pair")[row].cumsum(0) - 1  # [A], the place of a pair's answer in `more`
        logits, places, used, counted, losses = [], [], [], [], []
        answers = sums = 0
        for n, (rows, size, whole) in enumerate(counts.T.tolist()):
            if not rows:
                continue
            place = order[answers : answers + size]  # [A_n], ascending
            from_first = inverse[place] - sums  # [A_n], into the head's units [U_n]
            answers, sums = answers + size, sums + whole
            one = self.heads[n]
            if not one.rows and said is not None:
                scores = said[n]
            else:
                read = vectors[place]  # [A_n, M]
                if one.bent:
                    read = self.bends[str(n)](read).tanh()
                if one.pooling == "pair" and more is not None:
                    read = torch.cat([read, more[among[place]].float()], dim=1)  # [A_n, 4M]
                scores = F.linear(read, self.weights[n], self.biases[n] if one.scale.biased else None)  # [A_n, C_n]
            gold = Gold(labels[place], None if targets is None or not one.by_targets else targets[place, : one.outputs])
            losses.append(one.scale.evidence(scores, gold, from_first).loss(whole))  # [U_n]
            logits.append(scores)
            places.append(place)
            used.append(n)
            counted.append(from_first)
        loss = torch.zeros(units, device=row.device).index_put((pairs % units,), torch.cat(losses))  # [U]
        return Answers(row, tuple(logits), tuple(places), tuple(used), tuple(counted), loss)

    @torch.no_grad()
    def bake(self, n: int) -> tuple[Tensor, Tensor]:
        """Head `n` as plain tensors: weight [C_n, M] and bias [C_n], fp32 on the CPU."""
        return self.weights[n].detach().cpu().clone(), self.biases[n].detach().cpu().clone()

    @torch.no_grad()
    def put(self, n: int, weight: Tensor, bias: Tensor, bend: tuple[Tensor, Tensor] | None = None) -> None:
        """Gives head `n` baked values, as `bake` returned them, and where it is bent its layer's [M, M] and [M]."""
        self.weights[n].copy_(weight)
        self.biases[n].copy_(bias)
        if bend is not None:
            self.bends[str(n)].load_state_dict(dict(zip(("weight", "bias"), bend, strict=True)))
