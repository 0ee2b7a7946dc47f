"""What a run is configured by: frozen, strict models, one per section of the YAML file.

Every value of a field that can be judged alone is judged here; what concerns several fields is in `checks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from workflows.config.comparing import CompareSettings
from workflows.config.fields import Attention, Count, Settings, Text, put_over
from workflows.config.operating import GateSettings, RetrainSettings
from workflows.config.prompts import PromptSettings
from workflows.config.tasks import TaskSettings
from workflows.config.training import (
    Adaptation,
    AdaptSettings,
    EnsembleSettings,
    PretrainSettings,
)
from workflows.config.usual import settle

if TYPE_CHECKING:
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
    pooling: Literal["auto", "mean", "first", "last", "pair"] = "auto"
    """What a sentence's vector is. auto: last for decoders, else pair: of two texts both means, their difference and
    their product; of one text the mean."""
    checkpointing: bool = False
    """Layers keep their inputs only in training and are computed again on the way back: less memory, a third more
    time."""


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
        return None if self.worded else ("encoder",)

    @property
    def worded(self) -> tuple[str, ...]:
        """The tasks that the backbone's own vocabulary answers, an encoder-decoder in its decoder."""
        return tuple(
            task.name
            for task, spec in zip(self.tasks, self.task_specs(), strict=True)
            if task.type in WRITING or spec.head == "verbalizer"
        )

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
