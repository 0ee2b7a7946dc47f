"""What a request holds and what an answer holds: the schema at /openapi.json."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.tasks import TASK_TYPES


class Asked(BaseModel):
    """Rows to answer. A row has the fields of its task's type, which /v1/tasks lists:

    - classification, multilabel, regression: `text`;
    - pair, pair_regression: `text_a` and `text_b`;
    - choice: `question` and `choices`, a list of at least two texts;
    - token: `tokens`, or `text` that is split on blanks;
    - srl: the same, and `predicate`, the place of a word, counted from 0;
    - qa: `question` and `context`;
    - generation: `input`.
    """

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"rows": [{"task": name, **one.example} for name, one in TASK_TYPES.items()]}]},
    )

    rows: list[dict[str, Any]] = Field(min_length=1)
    """Rows of any tasks together. `task` in a row is a task's name, or TASK@challenger."""
    task: str | None = None
    """The task of the rows that name none."""


class Span(BaseModel):
    """Words of a row that belong together."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    label: str
    start: int
    """Place of its first word."""
    end: int
    """Place of the word behind its last."""
    text: str


class Answer(BaseModel):
    """The answer to a row: who gave it, and the fields of the task's type, no others.

    - classification, pair: `label`, `score`, `scores` by label;
    - multilabel: `labels`, `scores` by label;
    - regression, pair_regression: `score`;
    - choice: `label`, `choice`, `score`, `scores` in the order of the choices;
    - token, srl: `tokens`, `tags`, `spans`;
    - qa: `answer`, `start`, `end`, `score`, `no_answer`;
    - generation: `text`.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    task: str
    alias: str
    """champion or challenger."""
    version: int
    label: str | int | None = None
    """The likeliest label; of choices, the place of the chosen one, counted from 0."""
    labels: list[str] | None = None
    """Every label that reaches the task's threshold, perhaps none."""
    score: float | None = None
    """The probability of the answer; of a regression, the number."""
    scores: dict[str, float] | list[float] | None = None
    """The probability of every label, or of every choice."""
    tokens: list[str] | None = None
    tags: list[str] | None = None
    """One per word."""
    spans: list[Span] | None = None
    """What BIO tags say; empty where the tags are no such."""
    choice: str | None = None
    """The text of the chosen choice."""
    answer: str | None = None
    """The part of the context that answers; empty where none does."""
    start: int | None = None
    """The answer's first character in the context, null where there is no answer."""
    end: int | None = None
    """The character behind the answer's last, null where there is no answer."""
    no_answer: float | None = None
    """The probability that the context holds no answer."""
    text: str | None = None
    """What was written."""


class Answers(BaseModel):
    """The answers, in the order of the rows."""

    answers: list[Answer]


class Problem(BaseModel):
    """One mistake: what, where in the request, what was found and expected, the nearest valid choice."""

    what: str
    message: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None
    nearest: str | None = None
    hint: str | None = None


class Problems(BaseModel):
    """Why a request was not answered."""

    errors: list[Problem]
