"""A label for a text, or for two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.tasks.data.cells import LABEL, Cell
from pipeline.tasks.encoding.batching import IGNORED
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.scoring.scales import CLASSES
from pipeline.tasks.types.base import Reading, Sentence


class Classification(Sentence):
    """One label per row (P-tuning v2, section 3.3: a head on the hidden states instead of a verbalizer)."""

    target = ("label", LABEL)
    scale = CLASSES
    metrics = ("accuracy", "macro_f1", "mcc")
    combinations = ("mean", "vote")
    verbal = True

    def __init__(self, name: str, inputs: Mapping[str, Cell], example: Mapping[str, Any]) -> None:
        self.name, self.inputs, self.example = name, inputs, example

    def labels_of(self, answer: Any) -> set[str]:
        return {answer}

    def unknown(self, row: Mapping[str, Any]) -> str:
        return "?"

    def target_of(self, answer: Any, encoder: Encoder) -> dict[str, Any]:
        return {"labels": [encoder.ids.get(answer, IGNORED)]}

    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> str:
        return labels[int(reading.p[0].argmax())]

    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        label = self.read(reading, labels, metric, threshold)
        scores = dict(zip(labels, reading.p[0].tolist(), strict=True))
        return {"label": label, "score": scores[label], "scores": scores}
