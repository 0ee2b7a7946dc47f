"""How sure the test scores are: what the evaluate stage tells beside them, from the answers it had in its hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.tasks.scoring.metrics import Scorer
from pipeline.tasks.scoring.resample import Interval, difference, interval

Told = Sequence[Any]
"""An answer per row, as the task's type reads them."""


def confidence(
    metric: str, gold: Told, answered: Mapping[str, Told], cells: Mapping[str, Sequence[Told]], scorer: Scorer
) -> dict[str, Any]:
    """Intervals of the test scores and of what stands between them.

    Args:
        gold: the right answers. scorer: the task type's.
        answered: "winner" and whatever else was scored → its answers.
        cells: of both starts, the answers of every seed of its best cell.

    Returns:
        `scores`: per name of `answered`; `over_winner`: of the others against the winner, on the same rows; `gain`: of
        the shared start over scratch, mean over seeds. None where there is nothing to compare, or no way to resample.
    """
    shared, scratch = (cells.get(start, ()) for start in ("shared", "scratch"))
    over = {
        name: _plain(difference(metric, gold, [one], [answered["winner"]], scorer))
        for name, one in answered.items()
        if name != "winner"
    }
    return {
        "scores": {name: _plain(interval(metric, gold, one, scorer)) for name, one in answered.items()},
        "over_winner": over,
        "gain": _plain(difference(metric, gold, shared, scratch, scorer)) if shared and scratch else None,
    }


def _plain(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)
