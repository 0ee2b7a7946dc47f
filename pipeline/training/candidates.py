"""One prompt of a search: what it is, how far it is, what it came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from pipeline.backbone import BackboneInfo
from pipeline.model import bank_on
from pipeline.prompts import PromptBank, parse_layout

Cell = tuple[str, int, int, float]
"""What candidates have in common that differ in their seeds only: start, length, first layer, learning rate."""
Point = tuple[int, float, float]
"""A look at dev: step, score, loss."""


@dataclass(frozen=True)
class Candidate:
    """One prompt of a search.

    Args:
        start: "shared" (from the pretrained prompt, cut or extended) or "scratch".
        length: P. first_layer: the lowest layer it stands in. learning_rate: the prompt's; the search says
            what share of it the head takes.
        seed: draws whatever of the start is random.
    """

    start: str
    length: int
    first_layer: int
    learning_rate: float
    seed: int

    @property
    def cell(self) -> Cell:
        """The candidate without its seed."""
        return self.start, self.length, self.first_layer, self.learning_rate

    @property
    def name(self) -> str:
        return f"{self.start}-p{self.length}-k{self.first_layer}-lr{self.learning_rate:g}-s{self.seed}"


@dataclass
class Progress:
    """How far one candidate is: its best dev score so far, and the prompt and head that reached it.

    Args:
        live: whether it is being trained. cut: the step at which halving took it out; None if it did not.
    """

    score: float = -math.inf
    loss: float = math.inf
    step: int = 0
    stale: int = 0
    live: bool = True
    cut: int | None = None
    curve: list[Point] = field(default_factory=list)
    prompt: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True)
class Trained:
    """A candidate at its best dev score: prompt [L, 2, H, P, D] or [P, E], head weight [C, M] and bias [C], all baked.

    Args:
        cut: the step at which halving took it out of the search; None for one that trained on.
        layout: where an input prompt stands, see `parse_layout`; None for a deep one.
    """

    candidate: Candidate
    score: float
    loss: float
    step: int
    curve: tuple[Point, ...]
    prompt: Tensor
    weight: Tensor
    bias: Tensor
    cut: int | None = None
    layout: str | None = None

    @classmethod
    def of(cls, candidate: Candidate, p: Progress, layout: str | None = None) -> Trained:
        """What a candidate's training came to."""
        assert p.prompt is not None and p.weight is not None and p.bias is not None
        return cls(candidate, p.score, p.loss, p.step, tuple(p.curve), p.prompt, p.weight, p.bias, p.cut, layout)


def bank_of(trained: Sequence[Trained], info: BackboneInfo) -> PromptBank:
    """The prompts of trained candidates. info: of the backbone."""
    layouts = [None if one.layout is None else parse_layout(one.layout) for one in trained]
    return bank_on(info, [one.prompt for one in trained], layouts)
