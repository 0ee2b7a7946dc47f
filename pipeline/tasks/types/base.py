"""What a task type says of itself. A new type is one file beside this one and a line in `__init__`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.tasks.data.cells import Cell
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.encoding.pattern import Pattern
from pipeline.tasks.scoring.metrics import score
from pipeline.tasks.scoring.scales import Scale

Encoded = dict[str, Any]
"""An encoded sequence: `input_ids`, perhaps `token_type_ids`, `answer` (where it answers), `labels` (a class id per
answer), `words` (which of the row's answers each is), `full_length`, and what the type's `extra` adds."""


@dataclass(frozen=True)
class Reading:
    """What probabilities say of one row, before a threshold is applied.

    Args:
        p: [A, C] probabilities of the row's answers. marks: `words`, and what the type marks besides, per answer.
        row: the columns that the type keeps, and the target: gold, or what `unknown` gave; of a type that is written
            the answer, `text`.
    """

    p: Tensor
    marks: Mapping[str, Sequence[int]]
    row: Mapping[str, Any]


def text_reading(text: str, row: Mapping[str, Any]) -> Reading:
    """What was written for a row, as types that are written read it."""
    return Reading(torch.empty(0, 0), {}, {**row, "text": text})


class TaskType(ABC):
    """One kind of task: its columns, how a row is checked and encoded, its head, its answers and its metrics."""

    name: str
    inputs: Mapping[str, Cell]
    """Columns that the backbone reads."""
    target: tuple[str, Cell]
    """The column that holds the answer."""
    scale: Scale
    """What the head's scores mean; the loss follows from it."""
    metrics: tuple[str, ...]
    """Metrics that fit, the default first."""
    example: Mapping[str, Any]
    """A row as `predict` takes it."""

    pooled: ClassVar[bool] = True
    """Whether a sequence answers once, from its pooled vector; else at chosen tokens, from their own."""
    words: ClassVar[bool] = False
    """Whether rows come as words."""
    templated: ClassVar[bool] = False
    """Whether rows may stand in a template."""
    verbal: ClassVar[bool] = False
    """Whether words of the vocabulary may stand for the labels."""
    outputs: ClassVar[tuple[str, ...] | None] = None
    """The names of the head's outputs; None where they are the labels of the train split."""
    extra: ClassVar[Mapping[str, str]] = {}
    """Columns of encoded sequences besides the usual ones: `targets` (C numbers per answer), marks of answers."""
    marks: ClassVar[tuple[str, ...]] = ("words",)
    """Encoded columns, a number per answer, that reading answers needs."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Input columns that reading answers needs."""
    answered: ClassVar[str] = "label"
    """The field of what `tell` gives that holds what `read` gives."""
    combinations: ClassVar[tuple[str, ...]] = ("mean",)
    """How members of an ensemble may answer together; none where they cannot."""
    scored_as: ClassVar[str | None] = None
    """The entry of `METRICS` that gives all of the type's figures, where it has another name than they."""
    several: ClassVar[bool] = False
    """Whether a row may have several labels, or none."""
    thresholded: ClassVar[bool] = False
    """Whether answers depend on a threshold that dev chooses."""
    windowed: ClassVar[bool] = False
    """Whether a long text is cut into windows instead of being cut off."""
    written: ClassVar[bool] = False
    """Whether answers are texts that the backbone writes, which its own language-model head answers."""

    @property
    def columns(self) -> Mapping[str, Cell]:
        return {**self.inputs, self.target[0]: self.target[1]}

    @property
    def pair(self) -> bool:
        """Whether the backbone reads two texts."""
        return len(self.inputs) > 1

    @property
    def compared(self) -> bool:
        """Whether a row is two texts and has one answer: a head may then read them side by side."""
        return False

    def check(self, row: Mapping[str, Any]) -> InputError | None:
        """What is wrong between the columns of a row."""
        return None

    def labels_of(self, answer: Any) -> set[str]:
        """The labels of one gold answer; none where the outputs do not come from the data."""
        return set()

    def outputs_of(self, answers: Iterable[Any]) -> tuple[str, ...]:
        """The names of the outputs where they are neither fixed nor the labels of train.

        Raises:
            InputError: train leaves nothing to learn.
        """
        assert self.outputs is not None
        return self.outputs

    def metric_for(self, labels: Iterable[str]) -> str:
        """The metric that `auto` stands for."""
        return self.metrics[0]

    def searched_by(self, metric: str) -> str:
        """What the scores of a search are on dev: the metric, or what stands in for it where it would cost too much."""
        return "likelihood" if self.written else metric

    def scored(self, vocabulary: int) -> int:
        """How many tokens of the backbone's vocabulary are scored at every answer: all where it writes, else none."""
        return vocabulary if self.written else 0

    def asked(self, column: str, value: Any, raw: Mapping[str, Any]) -> Any:
        """An input of a row to be answered; None where it is missing. `raw` is the whole row."""
        return value

    @abstractmethod
    def unknown(self, row: Mapping[str, Any]) -> Any:
        """Stands where training rows have their answer, which rows to be answered lack."""

    @abstractmethod
    def encode(self, encoder: Encoder, chunk: Mapping[str, Sequence[Any]]) -> list[list[Encoded]]:
        """Canonical rows, column by column, as encoded sequences: one per row, or several that are scored together."""

    @abstractmethod
    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> Any:
        """A row's answer, as the metrics take it."""

    @abstractmethod
    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        """A row's answer as JSON, with scores."""

    def score(self, metric: str, gold: Sequence[Any], predicted: Sequence[Any]) -> dict[str, float]:
        """Figures, the metric's own among them."""
        return score(self.scored_as or metric, gold, predicted)

    def choose_threshold(
        self, readings: Sequence[Reading], gold: Sequence[Any], labels: Sequence[str], metric: str
    ) -> float | None:
        """The threshold that scores best on these rows."""
        return None


class Sentence(TaskType):
    """A type whose rows are a text or two, answered once."""

    templated = True

    @property
    def compared(self) -> bool:
        return self.pair

    def target_of(self, answer: Any, encoder: Encoder) -> dict[str, Any]:
        """`labels` and perhaps `targets` of a row."""
        raise NotImplementedError

    def encode(self, encoder: Encoder, chunk: Mapping[str, Sequence[Any]]) -> list[list[Encoded]]:
        if encoder.pattern is not None:
            return self._in_template(encoder, encoder.pattern, chunk)
        encoded = encoder.tokenize(*(chunk[column] for column in self.inputs))
        rows = []
        for index, answer in enumerate(chunk[self.target[0]]):
            kept = encoder.kept(encoded, index)
            row = encoder.sequence(encoded, index, kept)
            if self.compared:
                owners = encoded.sequence_ids(index)
                of_second = (n for n, place in enumerate(kept) if owners[place] == 1)
                row["second"] = [next(of_second, len(kept))]
            rows.append([{**row, "answer": [0], "words": [0], **self.target_of(answer, encoder)}])
        return rows

    def _in_template(
        self, encoder: Encoder, pattern: Pattern, chunk: Mapping[str, Sequence[Any]]
    ) -> list[list[Encoded]]:
        rows = pattern.encode(chunk, encoder.limit)
        for row, answer in zip(rows, chunk[self.target[0]], strict=True):
            gold = self.target_of(answer, encoder)
            nothing: Encoded = {name: [] for name in gold}  # a row has one answer, however many sequences it is read in
            row[:] = [{**one, **(gold if n == 0 else nothing)} for n, one in enumerate(row)]
        return rows
