"""The cells of a task's search as dev saw them: candidates that differ in their seeds only, taken together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class CellScore:
    """One cell.

    Args:
        mean, deviation: of the best dev scores of its seeds. cut: the step at which halving gave it up, or None.
    """

    start: str
    length: int
    first_layer: int
    learning_rate: float
    mean: float
    deviation: float
    seeds: int
    cut: int | None


def cell_scores(candidates: Sequence[Mapping[str, Any]]) -> list[CellScore]:
    """The cells of a search.

    Args:
        candidates: the entries of trained.json.
    """
    cells: dict[tuple[str, int, int, float], list[Mapping[str, Any]]] = {}
    for entry in candidates:
        one = entry["candidate"]
        cell = (one["start"], one["length"], one["first_layer"], one["learning_rate"])
        cells.setdefault(cell, []).append(entry)
    found = []
    for cell, entries in cells.items():
        scores = [float(entry["score"]) for entry in entries]
        found.append(CellScore(*cell, mean(scores), pstdev(scores), len(scores), entries[0]["cut"]))
    return found


def best_by(cells: Iterable[CellScore], key: Callable[[CellScore], K]) -> dict[K, CellScore]:
    """For each key the best cell on dev; one that was cut counts only where all were."""
    best: dict[K, CellScore] = {}
    for cell in cells:
        before = best.setdefault(key(cell), cell)
        if (cell.cut is None, cell.mean) > (before.cut is None, before.mean):
            best[key(cell)] = cell
    return best
