"""What pretraining bought: for each task the shared start against the start from scratch, over the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workflows.summary import RunSummary, Spread


@dataclass(frozen=True)
class Gain:
    """One task's comparison of the two starts, in test scores of each start's best cell on dev.

    Args:
        held_out: pretraining never saw the task, so that a gain is transfer and not more training on the same rows.
    """

    task: str
    metric: str
    held_out: bool
    shared: Spread
    scratch: Spread

    @property
    def difference(self) -> float:
        """Shared minus scratch; negative where the shared prompt did harm."""
        return self.shared.mean - self.scratch.mean

    @property
    def seeds(self) -> int:
        """Repetitions behind each mean; the fewer, should the two differ."""
        return min(self.shared.seeds, self.scratch.seeds)


def gains(summary: RunSummary) -> list[Gain]:
    """The tasks that were tried from both starts: held-out ones first, otherwise in the order of the config."""
    found = [
        Gain(row.task, row.metric, row.held_out, row.shared, row.scratch)
        for row in summary.rows
        if row.shared is not None and row.scratch is not None
    ]
    return sorted(found, key=lambda gain: not gain.held_out)


def mean_difference(found: Sequence[Gain]) -> float | None:
    """The mean over tasks, each counting the same; None without a task."""
    return mean(gain.difference for gain in found) if found else None
