"""What a plan says: the run, its tasks, its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.jobs.places import Place


@dataclass(frozen=True)
class TaskPlan:
    """One task: how much data it has, and what is searched for it.

    Args:
        rows, tokens, truncated: per split. longest: tokens of its longest row. candidates: 0 when it is not adapted.
        first_layers: the depths that are searched. share: of the steps that all candidates would take, the most that
            are taken where halving cuts some. trainable: numbers in all its candidates, heads included.
    """

    name: str
    type: str
    metric: str
    labels: int
    rows: Mapping[str, int]
    tokens: Mapping[str, int]
    truncated: Mapping[str, int]
    longest: int
    pretrained: bool
    candidates: int
    lengths: tuple[int, ...]
    first_layers: tuple[int, ...]
    share: float
    trainable: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StagePlan:
    """One stage: where it stands and why, and at most how long it takes. Seconds are 0 for a skipped one."""

    name: str
    status: str
    reason: str
    skipped: bool
    workers: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """A run before it runs.

    Args:
        kind: what the backbone is, in words. layers: attentions that prompts may stand in.
        method: how prompts are made, in words.
        frozen, frozen_bytes: the backbone's numbers and their bytes. trainable: numbers of the shared prompt and its
            heads, and of all candidates. sharding, sharding_reason: how pretraining holds the backbone, and why.
        speed: operations per second that the estimate counts on. seconds: of all stages that are not skipped.
        memory: bytes of one worker at its widest, per room. disk: bytes the run writes; free_disk: bytes there are.
        trunk_bytes: cached activations of all tasks; trunk_limit: as many as may be, 0 where nothing is cached.
        trunk_folder: where they are, None for nowhere.
        places: how a job on a cluster would come by each folder that the config names. unsendable: why it could not.
    """

    name: str
    folder: str
    launcher: str
    backbone: str
    family: str
    kind: str
    dtype: str
    layers: int
    context: int | None
    frozen: int
    frozen_bytes: int
    method: str
    shared_prompt: int
    trainable: Mapping[str, int]
    prompts: int
    sharding: str
    sharding_reason: str
    registry: str
    tasks: tuple[TaskPlan, ...]
    stages: tuple[StagePlan, ...]
    speed: float
    seconds: float
    memory: Mapping[str, int]
    disk: int
    free_disk: int
    trunk_bytes: int
    trunk_limit: int
    trunk_folder: str | None
    places: tuple[Place, ...] = ()
    unsendable: tuple[str, ...] = ()

    @property
    def trunk_fits(self) -> bool:
        """Whether all of it can be cached at the same time."""
        return self.trunk_bytes <= self.trunk_limit

    @property
    def share(self) -> float:
        """Of the steps that the candidates of all tasks would take, the most that are taken."""
        candidates = sum(task.candidates for task in self.tasks)
        return sum(task.share * task.candidates for task in self.tasks) / candidates if candidates else 1.0

    def as_json(self) -> dict[str, Any]:
        """Plain data for another program."""
        return {**asdict(self), "trunk_fits": self.trunk_fits, "share": self.share}
