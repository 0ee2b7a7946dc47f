"""What a run is configured by: frozen, strict models, one per section of the YAML file.

Every value of a field that can be judged alone is judged here; what concerns several fields is in `checks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_serializer

from workflows.config.comparing import CompareSettings
from workflows.config.fields import Attention, Attentions, Count, Settings, Text, Words, auto_or_count, put_over
from workflows.config.operating import BoundSettings, GateSettings, RetrainSettings
from workflows.config.training import (
    Adaptation,
    AdaptSettings,
    CandidateSettings,
    EnsembleSettings,
    PretrainSettings,
)
from workflows.config.usual import settle

if TYPE_CHECKING:
    from pipeline.prompts import Recipe
    from pipeline.tasks import TaskSpec

NOTHING_TRAINED: dict[str, Any] = {
    "steps": 0,
    "lengths": (0,),
    "first_layers": "auto",
    "learning_rates": (0.0,),
    "seeds": 1,
    "halving": None,
}
"""Of a search where nothing is trained: one candidate, as it is."""


WRITING = frozenset({"generation"})
"""The task types whose answers a decoder writes."""


class BackboneSettings(Settings):
    """The frozen model."""

    model: Text = "minilm"
    """A built-in name, a folder in transformers format, or a hub id."""
    revision: Text | None = None
    """Commit, tag or branch of a hub id."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the frozen weights are held in; prompts and heads are always float32."""
    sharding: Literal["auto", "none", "zero3"] = "auto"
    """Each worker holds the whole backbone (none) or a share of it (zero3, DeepSpeed)."""
    pooling: Literal["auto", "mean", "first", "last"] = "auto"
    """What a sentence's vector is; auto: mean for encoders, last for decoders."""
    checkpointing: bool = False
    """Layers keep their inputs only in training and are computed again on the way back: less memory, a third more
    time."""


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
    pooling: Literal["auto", "mean", "first", "last"] = "auto"
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


class PromptSettings(Settings):
    """The prompts: the method, and where they start."""

    method: Literal["deep", "prefix", "prompt_tuning", "p_tuning", "head", "hard"] = "deep"
    """deep: keys and values in each prompted layer (P-tuning v2); prefix: the same, through an MLP in training;
    prompt_tuning: vectors among the input embeddings; p_tuning: the same, anywhere, through an LSTM in training; head:
    no prompt, a linear head alone; hard: a template in words and label words, nothing trained."""
    encoder: Literal["auto", "identity", "mlp", "lstm", "bilstm+mlp"] = "auto"
    """The network that makes the prompts while they train; auto: the method's usual one."""
    place: Literal["front", "after_first", "end"] | None = None
    """Where an input prompt stands; front if there is no template either."""
    template: Text | None = None
    """What rows are put into: words, fields in braces, a mask: "{text} It was {mask}.", with p_tuning soft tokens, too:
    "{3} {text} {2} It was {mask}."; or where p_tuning's soft tokens stand, no more: "{2} text_a {2} text_b label"."""
    head: Literal["auto", "linear", "verbalizer"] = "auto"
    """What answers: a linear head, or the backbone's own words for the labels; auto: verbalizer for hard, else
    linear."""
    length: Count = 32
    """Places of the shared prompt."""
    first_layer: Annotated[Literal["auto"] | int, auto_or_count(0)] = "auto"
    """The lowest prompted layer; auto: 0."""
    init: Literal["vocabulary", "normal", "uniform", "text", "labels", "prompt"] = "vocabulary"
    """A fresh prompt starts from what the backbone makes of sampled tokens, of a text or of the class labels, from
    noise, or from another prompt."""
    attention: Attentions = "auto"
    """Of an encoder-decoder: which of its attentions deep prompts stand in; auto: the encoder's where heads read, all
    where a task writes."""
    text: Text | None = None
    """What `init: text` starts from."""
    source: Text | None = None
    """The artifact's folder that `init: prompt` starts from; relative to the config file."""

    @property
    def layout(self) -> str | None:
        """Where an input prompt stands, as `parse_layout` reads it; None for deep ones."""
        if self.deep:
            return None
        if self.worded is not None:
            return self.soft or self.place or "front"
        return self.template or self.place or "front"

    @property
    def worded(self) -> str | None:
        """The template that rows are put into; None where it says no more than where soft tokens stand."""
        from pipeline.tasks.encoding.template import is_worded

        return self.template if self.template is not None and is_worded(self.template) else None

    @property
    def soft(self) -> str | None:
        """The soft tokens of such a template: "{3} {2}"."""
        from pipeline.tasks.encoding.template import soft_of

        return None if self.worded is None else soft_of(self.worded)

    @property
    def answering(self) -> str:
        """What answers where the task does not say."""
        if self.head != "auto":
            return self.head
        return "verbalizer" if self.method == "hard" else "linear"

    @property
    def deep(self) -> bool:
        """Whether prompts stand in the layers, so that there are depths to search."""
        return self.method not in ("prompt_tuning", "p_tuning")

    @property
    def recipe(self) -> Recipe:
        """The choices as the library takes them."""
        from pipeline.prompts import METHODS, Recipe

        encoder = METHODS[self.method].encoders[0] if self.encoder == "auto" else self.encoder
        return Recipe(self.method, encoder, self.layout, self.text)


class TrunkSettings(Settings):
    """Keeping what lies below the prompts: the layers that compute the same for every candidate and epoch."""

    max_bytes: Count = 8_000_000_000
    """Cached activations of all runs of this storage, at most; the longest unused go first."""
    folder: Text | None = None
    """Where they are: a fast local disk; default: the storage's cache folder."""


class RegistrySettings(Settings):
    """Where prompts are kept."""

    uri: Text = "sqlite:///mlflow.db"
    """MLflow tracking URI; a relative sqlite path is relative to the current directory."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")] = "deepprompt"
    """Registered models are named PREFIX.TASK."""


class Config(Settings):
    """A whole run. `workflows.config.load.load_config` reads one from a file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    """Names the run and its folder."""
    storage: Text = "runs"
    """Where run folders are; relative to the current directory."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random choice follows from it."""
    launcher: Literal["inline", "ray"] = "ray"
    """One process, or Ray."""
    backbone: BackboneSettings = Field(default_factory=BackboneSettings)
    """The frozen model."""
    tasks: Annotated[tuple[TaskSettings, ...], Field(strict=False, min_length=1)]
    """The tasks."""
    prompt: PromptSettings = Field(default_factory=PromptSettings)
    """The shared prompt."""
    pretrain: PretrainSettings | None = Field(default_factory=PretrainSettings)
    """Training the shared prompt; null skips it."""
    adapt: AdaptSettings = Field(default_factory=AdaptSettings)
    """Adapting it to each task."""
    ensemble: EnsembleSettings | None = Field(default_factory=EnsembleSettings)
    """Answering with several prompts; null skips it."""
    trunk: TrunkSettings | None = Field(default_factory=TrunkSettings)
    """Keeping what lies below the prompts; null computes it anew in every step."""
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    """Where prompts are kept."""
    gate: GateSettings = Field(default_factory=GateSettings)
    """What a new prompt must reach to become the champion."""
    retrain: RetrainSettings = Field(default_factory=RetrainSettings)
    """Training again, only what needs it."""
    compare: CompareSettings = Field(default_factory=CompareSettings)
    """Methods side by side; a run itself does not look here."""

    @property
    def run_folder(self) -> Path:
        """Where this run's stages are."""
        return Path(self.storage).absolute() / self.name

    @property
    def cache_folder(self) -> Path:
        """Where the runs of one storage share what can be made again."""
        return Path(self.storage).absolute() / ".cache"

    @property
    def trunk_folder(self) -> Path | None:
        """Where activations below the prompts are cached; None for nowhere."""
        if self.trunk is None:
            return None
        if self.trunk.folder is None:
            return self.cache_folder / "trunk"
        return Path(self.trunk.folder).expanduser().absolute()

    @property
    def attention(self) -> tuple[Attention, ...] | None:
        """Which attentions of an encoder-decoder prompts stand in; None for all. Heads read its encoder alone."""
        chosen = self.prompt.attention
        if chosen != "auto":
            return chosen
        writes = (
            task.type in WRITING or spec.head == "verbalizer"
            for task, spec in zip(self.tasks, self.task_specs(), strict=True)
        )
        return None if any(writes) else ("encoder",)

    def task(self, name: str) -> TaskSettings:
        """The task of that name; KeyError if there is none."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)

    def task_specs(self) -> list[TaskSpec]:
        """The tasks as the library takes them, in the order of the file."""
        return [task.spec(self.seed, self.prompt) for task in self.tasks]

    def adapt_for(self, name: str) -> Adaptation:
        """`adapt` with what the task itself says put over it, and what suits its type where both say auto."""
        task = self.task(name)
        own = self.adapt if task.adapt is None else put_over(self.adapt, task.adapt)
        settled = settle(own, task.type, self.prompt.method)
        return settled.model_copy(update=NOTHING_TRAINED) if self.prompt.method == "hard" else settled

    def gate_for(self, name: str) -> GateSettings:
        """`gate` with the task's own bounds put over it."""
        own = self.task(name).gate
        return self.gate if own is None else put_over(self.gate, own)

    @property
    def pretrain_tasks(self) -> tuple[str, ...]:
        """The tasks that pretraining draws from; none when it is skipped."""
        return () if self.pretrain is None else self._chosen(self.pretrain.tasks)

    @property
    def adapt_tasks(self) -> tuple[str, ...]:
        """The tasks that get prompts of their own."""
        return self._chosen(self.adapt.tasks)

    def _chosen(self, names: str | tuple[str, ...]) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks if names == "all" or task.name in names)
