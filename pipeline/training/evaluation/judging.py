"""What answers to a split's rows are worth: read as the task reads them, scored by its metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.tasks import PreparedTask, Reading
from pipeline.tasks.types.base import text_reading

Told = Tensor | Sequence[str]
"""Probabilities of answers, or the texts of a task that is written."""


@dataclass(frozen=True)
class Verdict:
    """What answers are worth.

    Args:
        figures: the metrics. metric: the task's own among them.
        threshold: that the answers were read with; None where the type has none.
    """

    figures: dict[str, float]
    metric: str
    threshold: float | None

    @property
    def score(self) -> float:
        return self.figures[self.metric]


class SplitRows:
    """The rows of a split, to read answers for and to score them against.

    Args:
        task, split: whose.
    """

    def __init__(self, task: PreparedTask, split: str) -> None:
        self.task = task
        self.gold, self.marks, self.shown = task.gold(split), task.marks(split), task.shown(split)
        self.counts = task.answers_per_row(split)

    def judge(
        self, probabilities: Told, threshold: float | None = None, rows: NDArray[np.int64] | None = None
    ) -> Verdict:
        """Scores answers.

        Args:
            probabilities: [A, C] of all answers of the rows, row after row; of a task that is written its texts.
            threshold: as dev chose it; None takes the one that does best here, which is for dev alone.
            rows: which of the split's rows; all by default.
        """
        kind, chosen = self.task.kind, range(len(self.gold)) if rows is None else rows.tolist()
        how = self.task.labels, self.task.metric
        readings, gold = self._readings(probabilities, chosen), [self.gold[row] for row in chosen]
        if kind.thresholded and threshold is None:
            threshold = kind.choose_threshold(readings, gold, *how)
        told = [kind.read(reading, *how, threshold) for reading in readings]
        return Verdict(kind.score(self.task.metric, gold, told), self.task.metric, threshold)

    def read(self, probabilities: Told, threshold: float | None = None) -> list[Any]:
        """The task's answers, row by row, for the probabilities [A, C] of the whole split."""
        kind, how = self.task.kind, (self.task.labels, self.task.metric, threshold)
        return [kind.read(reading, *how) for reading in self._readings(probabilities, range(len(self.gold)))]

    def _readings(self, probabilities: Told, rows: Sequence[int]) -> list[Reading]:
        if not isinstance(probabilities, Tensor):
            return [text_reading(text, self.shown[row]) for text, row in zip(probabilities, rows, strict=True)]
        pieces = probabilities.split(self.counts[list(rows)].tolist())  # type: ignore[no-untyped-call]
        return [Reading(p, self.marks[row], self.shown[row]) for p, row in zip(pieces, rows, strict=True)]
