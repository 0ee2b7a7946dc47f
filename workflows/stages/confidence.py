"""How sure the test scores are: what the evaluate stage tells beside them, from the answers it had in its hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.tasks import PreparedTask
from pipeline.tasks.resample import Interval, difference, interval
from pipeline.training.evaluate import decode_split


def confidence(
    task: PreparedTask,
    offsets: NDArray[np.int64],
    answered: Mapping[str, Tensor],
    cells: Mapping[str, Sequence[Tensor]],
) -> dict[str, Any]:
    """Intervals of the test scores and of what stands between them.

    Args:
        offsets: as in `SplitAnswers`.
        answered: "winner" and whatever else was scored → its class ids [A].
        cells: of both starts, the class ids of every seed of its best cell.

    Returns:
        `scores`: per name of `answered`; `over_winner`: of the others against the winner, on the same rows; `gain`: of
        the shared start over scratch, mean over seeds. None where there is nothing to compare, or no way to resample.
    """
    gold = task.gold("test")

    def answers(classes: Tensor) -> list[Any]:
        return decode_split(task, "test", classes, offsets)

    told = {name: answers(classes) for name, classes in answered.items()}
    sides = [[answers(classes) for classes in cells.get(start, ())] for start in ("shared", "scratch")]
    over = {
        name: _plain(difference(task.metric, gold, [one], [told["winner"]]))
        for name, one in told.items()
        if name != "winner"
    }
    return {
        "scores": {name: _plain(interval(task.metric, gold, one)) for name, one in told.items()},
        "over_winner": over,
        "gain": _plain(difference(task.metric, gold, *sides)) if all(sides) else None,
    }


def _plain(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)
