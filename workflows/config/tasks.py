"""A task in a config: where its rows are, how they are read, what answers, how it is adapted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_serializer

from workflows.config.fields import Count, Settings, Text, Words
from workflows.config.operating import BoundSettings
from workflows.config.prompts import PromptSettings
from workflows.config.training import CandidateSettings

if TYPE_CHECKING:
    from pipeline.tasks import TaskSpec


class DataSettings(Settings):
    """Where a task's rows are: exactly one of path, hub and demo."""

    path: Text | None = None
    """A folder with train, dev and test as .jsonl, .csv or .parquet, relative to the config file; or a URI (s3://…)."""
    hub: Text | None = None
    """A dataset name for the `datasets` library."""
    demo: Text | None = None
    """A task of the built-in demo suite."""
    revision: Text | None = None
    """Commit, tag or branch of the hub dataset."""
    subset: Text | None = None
    """Configuration of the hub dataset."""
    rows: Count | None = None
    """At most this many training rows (few-shot)."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Chooses the few-shot rows and generates the demo rows; the run's seed when not given."""


class DecodingSettings(Settings):
    """How a task's texts are written."""

    max_new_tokens: Count = 64
    """Tokens of a text, its end included; a longer one is broken off."""
    beams: Count = 1
    """1 takes the likeliest token each time; more keep so many beginnings and take the best text."""
    length_penalty: float = 1.0
    """With beams: more than 0 favours longer texts."""


class TaskSettings(Settings):
    """One task."""

    name: Text
    """Names the task everywhere, also in the registry."""
    type: Text
    """classification, pair, multilabel, regression, pair_regression, choice, token, srl, qa or generation."""
    data: DataSettings
    """Where the rows are."""
    columns: dict[Text, Text] = Field(default_factory=dict)
    """Our column name: the name it has in the data."""
    metric: Text = "auto"
    """A metric of the type."""
    unseen_labels: Literal["refuse", "count"] = "refuse"
    """A label in dev or test that train lacks is refused, or counted as a miss."""
    too_long: Literal["truncate", "refuse"] = "truncate"
    """Rows longer than the backbone allows are cut, or refused."""
    max_tokens: Count | None = None
    """A limit of the task's own on a row's tokens, special tokens included."""
    pooling: Literal["auto", "mean", "first", "last", "pair"] = "auto"
    """What a text's vector is; auto: as `backbone.pooling` says."""
    overlap: Annotated[int, Field(ge=0)] = 128
    """Tokens that neighbouring windows share where a text is too long for the backbone (qa)."""
    decoding: DecodingSettings | None = None
    """How texts are written (generation)."""
    adapt: CandidateSettings | None = None
    """What this task does otherwise than `adapt` says; only the keys that are given count."""
    template: Text | None = None
    """What its rows are put into: "{text} It was {mask}."; over prompt.template."""
    words: dict[Text, Words] | None = None
    """Of head verbalizer: label: its word or words; the labels' own names when not given."""
    head: Literal["auto", "linear", "verbalizer"] = "auto"
    """What answers; auto: as prompt.head says."""
    gate: BoundSettings | None = None
    """The task's own bounds, over those of `gate`; only the keys that are given count."""

    @field_serializer("adapt", "gate")
    def _given_only(self, own: Settings | None) -> dict[str, Any] | None:
        return None if own is None else own.model_dump(mode="json", exclude_unset=True)

    def spec(self, seed: int, prompt: PromptSettings | None = None) -> TaskSpec:
        """The task as the library takes it; `seed` is the run's, `prompt` what it says for all tasks."""
        from pipeline.tasks import DataSource, Decoding, TaskSpec

        data = self.data.model_dump()
        data["seed"] = seed if self.data.seed is None else self.data.seed
        return TaskSpec(
            name=self.name,
            type=self.type,
            data=DataSource(**data),
            columns=dict(self.columns),
            metric=self.metric,
            unseen_labels=self.unseen_labels,
            too_long=self.too_long,
            max_tokens=self.max_tokens,
            pooling=self.pooling,
            overlap=self.overlap,
            decoding=None if self.decoding is None else Decoding(**self.decoding.model_dump()),
            template=self.template or (prompt.worded if prompt is not None else None),
            head=self.head if self.head != "auto" else (prompt.answering if prompt is not None else "linear"),
            words=None if self.words is None else dict(self.words),
        )
