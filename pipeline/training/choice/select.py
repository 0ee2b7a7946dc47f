"""Choices made on dev, and only there: a task's winner and its best cell of the search."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.training.candidates import Cell, Trained


def ranked(trained: Sequence[Trained]) -> list[int]:
    """Candidates from best to worst on dev; the lower dev loss, then the shorter prompt, breaks a tie."""
    return sorted(
        range(len(trained)), key=lambda n: (-trained[n].score, trained[n].loss, trained[n].candidate.length, n)
    )


def choose_winner(trained: Sequence[Trained], tolerance: float) -> int:
    """The best candidate of the cheapest depth: of all within `tolerance` of the best dev score, the fewest layers.

    Fewer prompted layers are fewer to train, store and serve, and more of the backbone is trunk.

    Args:
        tolerance: in the units of the task's metric; 0 takes the best score, whatever its depth.
    """
    order = ranked(trained)
    enough = trained[order[0]].score - tolerance
    return max(
        (n for n in order if trained[n].score >= enough),
        key=lambda n: (trained[n].candidate.first_layer, -order.index(n)),
    )


def best_cell(trained: Sequence[Trained], start: str) -> list[int]:
    """All seeds of the cell with the best mean dev score among candidates of one start that were not cut.

    Seeds are repetitions, not candidates to pick from: what a start is worth is the mean over them.
    """
    cells: dict[Cell, list[int]] = {}
    for n, one in enumerate(trained):
        if one.candidate.start == start and one.cut is None:
            cells.setdefault(one.candidate.cell, []).append(n)
    if not cells:
        return []

    def merit(cell: list[int]) -> tuple[float, float]:
        mean_score = sum(trained[n].score for n in cell) / len(cell)
        return mean_score, -sum(trained[n].loss for n in cell) / len(cell)

    return max(cells.values(), key=merit)
