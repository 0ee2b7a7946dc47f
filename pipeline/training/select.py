"""Choices made on dev, and only there: a task's winner, its best cell of the search, its ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.prompts import COMBINATIONS
from pipeline.training.cohort import Trained


@dataclass(frozen=True)
class Ensemble:
    """Members of an ensemble, by place among the trained candidates, how they are combined, and the dev score."""

    members: tuple[int, ...]
    combine: str
    score: float


def ranked(trained: Sequence[Trained]) -> list[int]:
    """Candidates from best to worst on dev; the lower dev loss, then the shorter prompt, breaks a tie."""
    return sorted(
        range(len(trained)), key=lambda n: (-trained[n].score, trained[n].loss, trained[n].candidate.length, n)
    )


def best_cell(trained: Sequence[Trained], start: str) -> list[int]:
    """All seeds of the (length, learning rate) with the best mean dev score among candidates of one start.

    Seeds are repetitions, not candidates to pick from: what a start is worth is the mean over them.
    """
    cells: dict[tuple[int, float], list[int]] = {}
    for n, one in enumerate(trained):
        if one.candidate.start == start:
            cells.setdefault((one.candidate.length, one.candidate.learning_rate), []).append(n)
    if not cells:
        return []

    def merit(cell: list[int]) -> tuple[float, float]:
        mean_score = sum(trained[n].score for n in cell) / len(cell)
        return mean_score, -sum(trained[n].loss for n in cell) / len(cell)

    return max(cells.values(), key=merit)


def choose_ensemble(
    order: Sequence[int], probabilities: Tensor, size: int, score: Callable[[Tensor], float]
) -> Ensemble:
    """The best of the first 2, 3, … `size` candidates under every way to combine them.

    Args:
        order: candidates from best to worst.
        probabilities: [K, A, C] of all candidates on dev.
        size: the largest ensemble.
        score: class ids [A] → the task's metric on dev.
    """
    tried = []
    for count in range(min(2, len(order)), min(size, len(order)) + 1):
        members = tuple(order[:count])
        for name, combine in COMBINATIONS.items():
            combined = combine(probabilities[torch.tensor(members)])
            tried.append(Ensemble(members, name, score(combined.argmax(-1))))
    return max(tried, key=lambda e: (e.score, -len(e.members)))  # of equals the smaller, then the mean
