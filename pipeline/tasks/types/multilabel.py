"""Any number of labels for a text, none included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.tasks.data.cells import LABEL_SET, TEXT
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.scoring.scales import LABELS
from pipeline.tasks.types.base import Reading, Sentence

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


class Multilabel(Sentence):
    """Each label by itself, above one threshold for all."""

    name = "multilabel"
    inputs = {"text": TEXT}
    target = ("labels", LABEL_SET)
    scale = LABELS
    metrics = ("micro_f1", "macro_f1")
    answered = "labels"
    example = {"text": "my phone has not arrived, where is it"}
    extra = {"targets": "float32"}
    scored_as = "label_set_f1"
    thresholded = True
    several = True

    def labels_of(self, answer: Any) -> set[str]:
        return set(answer)

    def unknown(self, row: Mapping[str, Any]) -> list[str]:
        return []

    def target_of(self, answer: Any, encoder: Encoder) -> dict[str, Any]:
        return {"labels": [0], "targets": [float(label in answer) for label in encoder.labels]}

    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> list[str]:
        least = 0.5 if threshold is None else threshold
        return [label for label, p in zip(labels, reading.p[0].tolist(), strict=True) if p >= least]

    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        scores = dict(zip(labels, reading.p[0].tolist(), strict=True))
        return {"labels": self.read(reading, labels, metric, threshold), "scores": scores}

    def choose_threshold(
        self, readings: Sequence[Reading], gold: Sequence[Any], labels: Sequence[str], metric: str
    ) -> float:
        def merit(threshold: float) -> tuple[float, float]:
            told = [self.read(reading, labels, metric, threshold) for reading in readings]
            return self.score(metric, gold, told)[metric], -abs(threshold - 0.5)

        return max(THRESHOLDS, key=merit)
