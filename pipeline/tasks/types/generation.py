"""A text for a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.tasks.data.cells import TEXT, TEXTS
from pipeline.tasks.encoding.batching import IGNORED
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.scoring.scales import CLASSES
from pipeline.tasks.scoring.texts import TEXT_METRICS
from pipeline.tasks.types.base import Encoded, Reading, TaskType

SEPARATOR = "\n"
"""Stands between input and text where one model reads both."""


def question(sequence: Mapping[str, Any]) -> dict[str, Any]:
    """What is read of an encoded sequence before it is written on."""
    asked = sequence["answer"][0] + 1
    own = {name: sequence[name][:asked] for name in ("input_ids", "token_type_ids") if name in sequence}
    return {**own, "answer": [asked - 1], "labels": [IGNORED]}


class Generation(TaskType):
    """The backbone writes, token after token, what one of the references says (Li & Liang 2021, section 3).

    A sequence is the input and one reference, and answers at every place where a token of the reference is next, its
    end included: so the loss is that of all tasks (teacher forcing), and the head is the backbone's own. All references
    of a row are one unit. An encoder-decoder reads what stands before the first answer and writes the rest.
    """

    name = "generation"
    inputs = {"input": TEXT}
    target = ("references", TEXTS)
    scale = CLASSES
    metrics = TEXT_METRICS
    answered = "text"
    example = {"input": "name[Alimentum], area[city centre], familyFriendly[no]"}
    pooled = False
    outputs = ("text",)
    extra = {"asked": "int32"}
    scored_as = "text_overlap"
    combinations = ()
    written = True

    def unknown(self, row: Mapping[str, Any]) -> list[str]:
        return ["?"]

    def encode(self, encoder: Encoder, chunk: Mapping[str, Sequence[Any]]) -> list[list[Encoded]]:
        encoded = encoder.tokenize(chunk["input"])
        between = [] if encoder.decodes else encoder.plain(SEPARATOR)
        return [self._row(encoder, encoded, n, between, texts) for n, texts in enumerate(chunk["references"])]

    def _row(
        self, encoder: Encoder, encoded: Any, index: int, between: list[int], references: Sequence[str]
    ) -> list[Encoded]:
        kept = encoder.kept(encoded, index, len(between))  # of the input alone: no reference is ever cut
        own = encoder.sequence(encoded, index, kept)
        asked, cut = [*own["input_ids"], *between], own["full_length"] - len(kept)
        row = []
        for text in references:
            told = encoder.plain(text)
            sequence: Encoded = {
                "input_ids": [*asked, *told],
                "answer": list(range(len(asked) - 1, len(asked) + len(told))),
                "words": list(range(len(told) + 1)),
                "labels": [*told, IGNORED if encoder.end is None else encoder.end],
                "asked": [len(asked)] if encoder.decodes else [],
                "full_length": len(asked) + len(told) + cut,
            }
            if "token_type_ids" in own:
                sequence["token_type_ids"] = [0] * len(sequence["input_ids"])
            row.append(sequence)
        return row

    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> str:
        return str(reading.row["text"])

    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        return {"text": self.read(reading, labels, metric, threshold)}
