"""A number for a text, or for two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.tasks.data.cells import NUMBER, Cell
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.scoring.scales import CLASSES
from pipeline.tasks.types.base import Reading, Sentence


class Regression(Sentence):
    """A number between two poles, the least and the greatest of train.

    The head says how likely each pole is; the number is the mean of the poles, and the loss the cross entropy to the
    number's place between them (Gao et al. 2021, "Making Pre-trained Language Models Better Few-shot Learners",
    section 4.1). So a number needs no loss of its own, no scaling, and ensembles as labels do.
    """

    target = ("score", NUMBER)
    scale = CLASSES
    metrics = ("spearman", "pearson")
    answered = "score"
    outputs = ("lowest", "highest")
    extra = {"targets": "float32"}

    def __init__(self, name: str, inputs: Mapping[str, Cell], example: Mapping[str, Any]) -> None:
        self.name, self.inputs, self.example = name, inputs, example

    def outputs_of(self, answers: Iterable[Any]) -> tuple[str, ...]:
        values = list(answers)
        poles = (min(values), max(values))
        if poles[0] == poles[1]:
            raise InputError("every row of train has the same number", found=poles[0], expected="at least two numbers")
        return tuple(map(repr, poles))

    def unknown(self, row: Mapping[str, Any]) -> float:
        return 0.0

    def target_of(self, answer: Any, encoder: Encoder) -> dict[str, Any]:
        low, high = map(float, encoder.labels)
        place = min(1.0, max(0.0, (answer - low) / (high - low)))
        return {"labels": [0], "targets": [1.0 - place, place]}

    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> float:
        return sum(p * float(pole) for p, pole in zip(reading.p[0].tolist(), labels, strict=True))

    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        return {"score": self.read(reading, labels, metric, threshold)}
