"""The kinds of task. A type says in one file what its columns are, how a row is checked and encoded, what its head is,
how answers are read and scored; everything else (batches, search, ensembles, artifacts, prediction) asks it.

To add one: a subclass of `TaskType` in a file here, an entry below.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.tasks.data.cells import TEXT
from pipeline.tasks.types.base import Reading, Sentence, TaskType
from pipeline.tasks.types.choice import Choice
from pipeline.tasks.types.classification import Classification
from pipeline.tasks.types.generation import Generation
from pipeline.tasks.types.multilabel import Multilabel
from pipeline.tasks.types.qa import QuestionAnswering
from pipeline.tasks.types.regression import Regression
from pipeline.tasks.types.srl import SemanticRoles
from pipeline.tasks.types.token import Token

_ONE = {"text": "my phone has not arrived, where is it"}
_TWO = {"text_a": "where is my parcel", "text_b": "it left our store this morning"}
_TEXT_PAIR = {"text_a": TEXT, "text_b": TEXT}

_ALL: tuple[TaskType, ...] = (
    Classification("classification", {"text": TEXT}, _ONE),
    Classification("pair", _TEXT_PAIR, _TWO),
    Multilabel(),
    Regression("regression", {"text": TEXT}, _ONE),
    Regression("pair_regression", _TEXT_PAIR, _TWO),
    Choice(),
    Token(),
    SemanticRoles(),
    QuestionAnswering(),
    Generation(),
)
TASK_TYPES: Mapping[str, TaskType] = {one.name: one for one in _ALL}

__all__ = ["TASK_TYPES", "Reading", "Sentence", "TaskType"]
