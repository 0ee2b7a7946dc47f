"""How prompts are trained: the sections on pretraining, on the search for each task, and on ensembles."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from workflows.config.fields import (
    AutoCount,
    AutoLengths,
    AutoRate,
    AutoRates,
    Count,
    Fraction,
    Layers,
    Lengths,
    Rate,
    Rates,
    Settings,
    TaskNames,
    Workers,
)

DEFAULT_BATCH_TOKENS = 1024


class HalvingSettings(Settings):
    """Successive halving: all candidates train a little, the better ones train on."""

    factor: Annotated[int, Field(ge=2)] = 4
    """Of the candidates in play, one in this many stays after each cut."""
    brackets: Count = 1
    """Independent searches that a task's candidates are dealt to; they may run on different workers."""


class CandidateSettings(Settings):
    """How one task is adapted: the candidates, and the training of each. What is `auto` is in `usual`."""

    lengths: AutoLengths = "auto"
    """Prompt lengths to search over, in places; 0 is a linear head alone."""
    first_layers: Layers = "auto"
    """Lowest prompted layers to search over; auto: the shared prompt's own layer if prompt.first_layer is a number,
    else three depths: all layers, the upper half, the top sixth."""
    learning_rates: AutoRates = "auto"
    """Learning rates to search over."""
    seeds: Count = 1
    """Candidates per length, depth and learning rate."""
    head_share: AutoRate = "auto"
    """Of a learning rate, what the head takes: one that learns fast leaves the prompt nothing to learn. auto: 1 where
    learning_rates are given."""
    steps: AutoCount = "auto"
    """Training steps, at most."""
    batch_rows: Count = 16
    """Rows per step and candidate."""
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    evaluate_every: AutoCount = "auto"
    """Steps between two looks at dev; auto: a tenth of them all."""
    patience: Count = 4
    """A candidate stops after this many looks at dev without a better one."""
    tolerance: Annotated[float, Field(ge=0)] = 0.002
    """The cheapest depth whose dev score is within this of the best wins."""
    halving: HalvingSettings | None = Field(default_factory=HalvingSettings)
    """Giving up the worse candidates early; null trains all of them to the end."""
    from_scratch: bool = True
    """Also train the same candidates from a fresh prompt, to show what the shared prompt is worth."""


class AdaptSettings(CandidateSettings):
    """Adapting the shared prompt to each task."""

    tasks: TaskNames = "all"
    """The tasks to adapt to."""
    workers: Workers = "auto"
    """Tasks adapted at the same time."""
    room: Count = 64
    """Candidates that train in one batch; when some leave, the next task's come in."""
    checkpoint_every: Count = 50
    """Steps of a batch between two checkpoints."""


class Adaptation(AdaptSettings):
    """`AdaptSettings` as they are for one task: only the depths may be `auto`, which the backbone decides."""

    lengths: Lengths
    learning_rates: Rates
    head_share: Rate
    steps: Count
    evaluate_every: Count


class MixingSettings(Settings):
    """How the tasks share a pretraining batch."""

    exponent: Annotated[float, Field(ge=0)] = 0.5
    """A task is drawn in proportion to its rows to this power: 1 by size, 0 all alike."""
    cap: Count | None = 4096
    """A task counts for at most this many rows."""


class PretrainSettings(Settings):
    """Training the shared prompt on a mixture of tasks."""

    kind: Literal["shared", "factors", "retrieval"] = "shared"
    """shared: one prompt for all tasks; factors: one, times a small factor of each task's own (MPT); retrieval: one per
    task, and each task starts from the most similar other's (SPoT)."""
    distil: bool = False
    """With factors: first train a teacher per task, from which the shared prompt then learns, too."""

    tasks: TaskNames = "all"
    """The tasks to train on."""
    steps: Count = 300
    """Training steps."""
    batch_rows: Count | None = None
    """Rows per step over all workers; instead of batch_tokens."""
    batch_tokens: Count | None = None
    """Tokens per step over all workers, about; 1024 when batch_rows is not given either."""
    learning_rate: Rate = 1e-2
    """Highest learning rate."""
    head_share: Rate = 1.0
    """Of the learning rate, what the heads take."""
    warmup: Fraction = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    nested: bool = True
    """Each step trains a random length, so that every prefix of the shared prompt is a prompt."""
    mixing: MixingSettings = Field(default_factory=MixingSettings)
    """How the tasks share a batch."""
    checkpoint_every: Count = 50
    """Steps between two checkpoints."""
    workers: Workers = "auto"
    """Processes that share each step."""

    @model_validator(mode="before")
    @classmethod
    def _batch(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("batch_rows") is None and given.get("batch_tokens") is None:
            return {**given, "batch_tokens": DEFAULT_BATCH_TOKENS}
        return given


class EnsembleSettings(Settings):
    """Answering with several prompts in one forward pass."""

    size: Count = 5
    """Members, at most; the same one may count twice."""
    distil: bool = False
    """Also teach one prompt to answer as the ensemble."""
