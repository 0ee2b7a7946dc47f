"""Multiple choice: which of a question's answers is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.tasks.data.cells import CHOICES, INDEX, TEXT
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.scoring.scales import PLACES
from pipeline.tasks.types.base import Encoded, Reading, TaskType


class Choice(TaskType):
    """A sequence per choice, question and choice as a pair; one score each, compared among the row's (Devlin et al.
    2019, section 4.4)."""

    name = "choice"
    inputs = {"question": TEXT, "choices": CHOICES}
    target = ("label", INDEX)
    scale = PLACES
    metrics = ("accuracy",)
    example = {"question": "My parcel is lost. What happens?", "choices": ["I get a refund.", "I get a dog."]}
    outputs = ("right",)
    extra = {"targets": "float32"}
    kept = ("choices",)
    scored_as = "choice_accuracy"

    def check(self, row: Mapping[str, Any]) -> InputError | None:
        if row["label"] >= len(row["choices"]):
            expected = f"0 to {len(row['choices']) - 1}"
            return InputError("the label is none of the choices", found=row["label"], expected=expected)
        return None

    def unknown(self, row: Mapping[str, Any]) -> int:
        return 0

    def encode(self, encoder: Encoder, chunk: Mapping[str, Sequence[Any]]) -> list[list[Encoded]]:
        questions, choices = chunk["question"], chunk["choices"]
        pairs = [(question, one) for question, own in zip(questions, choices, strict=True) for one in own]
        encoded = encoder.tokenize(*zip(*pairs, strict=True))
        rows, index = [], 0
        for own, right in zip(choices, chunk["label"], strict=True):
            row = []
            for place in range(len(own)):
                sequence = encoder.sequence(encoded, index, encoder.kept(encoded, index))
                targets = [float(place == right)]
                row.append({**sequence, "answer": [0], "words": [place], "labels": [0], "targets": targets})
                index += 1
            rows.append(row)
        return rows

    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> int:
        return int(reading.p[:, 0].argmax())

    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        chosen, scores = self.read(reading, labels, metric, threshold), reading.p[:, 0].tolist()
        return {"label": chosen, "choice": reading.row["choices"][chosen], "score": scores[chosen], "scores": scores}
