"""Successive halving: all candidates train a little, the better ones train on (Jamieson & Talwalkar 2016, algorithm 1).

Decisions only: when cells are cut, which stay, and how they are dealt to searches that cut by themselves. With a factor
of 4 a search over 24 cells trains 24, then 6, then 2 of them, and costs the steps of about 4.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from pipeline.training.candidates import Candidate, Cell

C = TypeVar("C", bound=Hashable)


def rungs(steps: int, cells: int, factor: int) -> tuple[int, ...]:
    """The steps at which the cells still in play are cut to one in `factor`, ascending and below `steps`.

    There are floor(log_factor(cells)) cuts, at steps / factor, steps / factor² and so on.

    Args:
        steps: of a whole training. cells: at the beginning. factor: at least 2.
    """
    count = 0
    while factor ** (count + 1) <= cells:
        count += 1
    at = {max(1, round(steps / factor**power)) for power in range(1, count + 1)}
    return tuple(sorted(step for step in at if step < steps))


def survivors(merits: Mapping[C, tuple[float, float]], factor: int) -> set[C]:
    """The best ceil(n / factor) of n cells; of equals those that come first.

    Args:
        merits: cell → what it is worth, higher is better, compared in order.
    """
    order = sorted(merits, key=merits.__getitem__, reverse=True)
    return set(order[: -(-len(order) // factor)])


def training_share(steps: int, cells: int, factor: int) -> float:
    """Of the steps that all cells would take without cuts, the share that is taken; 1 where nothing is cut."""
    taken, left, before = 0, cells, 0
    for cut in rungs(steps, cells, factor) if factor else ():
        taken, left, before = taken + left * (cut - before), -(-left // factor), cut
    return (taken + left * (steps - before)) / (cells * steps)


def deal_cells(candidates: Sequence[Candidate], brackets: int) -> list[list[int]]:
    """The candidates' places, dealt to brackets: searches that cut their candidates each by itself.

    A cell stays whole, all its seeds together. The cells of each start go round, so that every bracket has candidates
    of every start; where a start has fewer cells than there are brackets, there are fewer brackets.
    """
    starts: dict[str, dict[Cell, list[int]]] = {}
    for place, one in enumerate(candidates):
        starts.setdefault(one.start, {}).setdefault(one.cell, []).append(place)
    dealt: list[list[int]] = [[] for _ in range(min([brackets, *map(len, starts.values())]))]
    for cells in starts.values():
        for turn, places in enumerate(cells.values()):
            dealt[turn % len(dealt)] += places
    return [sorted(places) for places in dealt]
