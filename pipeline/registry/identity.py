"""What an artifact belongs to: the one backbone that its numbers mean something for, and the task that it answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.backbone import BackboneInfo
from pipeline.backbone.source import BUILT_IN
from pipeline.tasks import TASK_TYPES, DataSource, PreparedTask, TaskSpec
from pipeline.tasks.decoding import Decoding
from pipeline.tasks.encoding.windows import OVERLAP
from pipeline.tasks.spec import check_template

Count = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of the manifest: unknown keys, other types and later changes are refused."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class BackboneIdentity(Section):
    """The one backbone that an artifact's numbers mean something for."""

    name: Text
    """A built-in name, a hub id, or the absolute path of a folder."""
    revision: Text
    """The hub's commit, or "local"."""
    family: Text
    weights: Sha256
    tokenizer: Sha256
    fingerprint: Sha256
    dtype: Literal["float32", "bfloat16"]

    @classmethod
    def of(cls, info: BackboneInfo, dtype: str) -> BackboneIdentity:
        """The identity of a described backbone that ran in `dtype`."""
        # A folder's name as configured may be relative to a directory that the reader is not in.
        local = info.revision == "local" and info.name not in BUILT_IN
        plain = {name: getattr(info, name) for name in ("revision", "family", "weights", "tokenizer", "fingerprint")}
        return cls.model_validate({"name": str(info.folder) if local else info.name, "dtype": dtype, **plain})


class WritingRules(Section):
    """How a task's texts are written, see `Decoding`."""

    max_new_tokens: Count
    beams: Count
    length_penalty: float


class TaskIdentity(Section):
    """How the task's rows were read and what its answers are."""

    type: Text
    labels: tuple[str, ...] = Field(min_length=1)
    """What the head's outputs stand for; a class id is a place in it."""
    columns: dict[str, str]
    """Our column → its name in the data."""
    max_tokens: Count | None
    too_long: Literal["truncate", "refuse"]
    metric: Text
    overlap: Annotated[int, Field(ge=0)] = OVERLAP
    """Tokens that windows of a long text share."""
    template: Text | None = None
    """What rows are put into, in words; None for nothing."""
    head: Literal["linear", "verbalizer"] = "linear"
    """What answers: numbers of the artifact's own, or words of the backbone's vocabulary."""
    words: dict[str, tuple[Text, ...]] | None = None
    """Of the verbalizer: label → its words; None for the labels' own names."""
    decoding: WritingRules | None = None
    """How texts are written; None for a type that writes none."""

    @classmethod
    def of(cls, task: PreparedTask) -> TaskIdentity:
        """The identity of a prepared task."""
        same = ("columns", "max_tokens", "too_long", "overlap", "template", "head")
        rules = {key: task.rules[key] for key in same}
        words = task.rules["words"]
        rules["words"] = None if words is None else {label: tuple(own) for label, own in words.items()}
        if task.kind.written:
            rules["decoding"] = WritingRules(**asdict(task.writing))
        return cls.model_validate({"type": task.type, "labels": task.labels, "metric": task.metric, **rules})

    def spec(self, name: str) -> TaskSpec:
        """The task as far as reading its rows goes."""
        return TaskSpec(
            name,
            self.type,
            DataSource(),
            columns=self.columns,
            max_tokens=self.max_tokens,
            overlap=self.overlap,
            template=self.template,
            head=self.head,
            words=self.words,
            decoding=None if self.decoding is None else Decoding(**self.decoding.model_dump()),
        )

    @model_validator(mode="after")
    def _sound(self) -> TaskIdentity:
        if self.type not in TASK_TYPES:
            raise ValueError(f"unknown task type {self.type!r}, expected one of {', '.join(TASK_TYPES)}")
        outputs = TASK_TYPES[self.type].outputs
        if outputs is not None and len(outputs) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels do not fit the {len(outputs)} outputs of {self.type!r}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label occurs twice")
        written = self.decoding is not None
        if written != TASK_TYPES[self.type].written:
            raise ValueError(f"decoding {self.decoding} does not fit the type {self.type!r}")
        if problems := check_template(self.spec("task")):
            raise ValueError(problems[0].message)
        if self.words is not None and set(self.words) != set(self.labels):
            raise ValueError(f"words of {', '.join(self.words)} do not fit the labels {', '.join(self.labels)}")
        return self
