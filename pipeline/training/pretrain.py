"""Pretraining: one shared prompt on the mixture of the source tasks (P-tuning v2, section 3.3, "multi-task learning").

Every batch mixes tasks; each task has its own head, all rows run under prompt 0. The batch of a step is drawn for the
whole group and dealt to the ranks, so the gradients do not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor

from pipeline.backbone import Backbone
from pipeline.model import PromptedModel
from pipeline.prompts import PromptBank
from pipeline.tasks import Answers, Batch, HeadBank, Mixture, PreparedTask, collate
from pipeline.training.loop import REFERENCE_RATE, LoopSettings, Trainer
from pipeline.training.starts import make_prompt
from pipeline.training.world import World


@dataclass(frozen=True)
class PretrainSettings:
    """How the shared prompt trains.

    Args:
        steps: optimizer steps. rows: rows per step over all ranks. learning_rate: the prompt's and the heads'.
        warmup, checkpoint_every: see `LoopSettings`. exponent, cap: see `Mixture`. seed: schedule and start.
        length: P. init: the initialiser. first_layer: the lowest prompted layer. pooling: see `PromptedModel`.
    """

    steps: int
    rows: int
    learning_rate: float
    warmup: float
    exponent: float
    cap: int | None
    seed: int
    length: int
    init: str
    first_layer: int
    pooling: str
    checkpoint_every: int = 50


@dataclass(frozen=True)
class SharedPrompt:
    """What pretraining made.

    Args:
        prompt: [L, 2, H, P, D]. heads: task → (weight [C, M], bias [C]). curve: (step, mean training loss since the
        last).
    """

    prompt: Tensor
    heads: dict[str, tuple[Tensor, Tensor]]
    curve: list[tuple[int, float]]


class Pretraining:
    """Trains the shared prompt on one rank of a group.

    Args:
        backbone: frozen, whole or sharded. tasks: the source tasks, by name. settings: how. world: the rank's group.
    """

    def __init__(
        self, backbone: Backbone, tasks: Mapping[str, PreparedTask], settings: PretrainSettings, world: World
    ) -> None:
        self.tasks = dict(tasks)
        self.order = list(self.tasks)
        self.settings = settings
        self.world = world
        rate = settings.learning_rate / REFERENCE_RATE
        first = make_prompt(settings.init, backbone, settings.length, settings.seed, settings.first_layer)
        bank = PromptBank([first], [rate], settings.first_layer)
        heads = HeadBank(
            [len(task.labels) for task in self.tasks.values()],
            backbone.info.width,
            [settings.seed + i for i in range(len(self.tasks))],
            [task.head for task in self.tasks.values()],
            [rate] * len(self.tasks),
        )
        self.model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device), settings.pooling)
        loop = LoopSettings(settings.steps, settings.warmup, checkpoint_every=settings.checkpoint_every)
        self.trainer = Trainer(self.model, loop, world, groups=[0] * len(self.tasks))
        sizes = {name: len(task.encoded["train"].rows) for name, task in self.tasks.items()}
        self.mixture = Mixture(sizes, settings.exponent, settings.cap, settings.seed)
        self.curve: list[tuple[int, float]] = []
        self._recent: list[float] = []

    def run(self) -> SharedPrompt:
        """Trains to the end, continuing from the latest checkpoint."""
        latest = self.world.latest()
        if latest is not None:
            _, extra = self.trainer.load(latest)
            self.curve = [(int(step), float(loss)) for step, loss in extra["curve"]]
            self._recent = list(extra["recent"])
        self.trainer.run(self.batch_at, self._after_step, self._state)
        bank, heads = self.model.bank, self.model.heads
        assert bank is not None
        return SharedPrompt(bank.bake(0), {name: heads.bake(n) for n, name in enumerate(self.order)}, self.curve)

    def batch_at(self, step: int) -> Batch:
        """This rank's rows of a step, each weighing the same over all ranks."""
        drawn = self.mixture.draw(step, self.settings.rows)
        own = drawn[self.world.rank :: self.world.size]
        rows: list[Mapping[str, Any]] = []
        for name, group in groupby(own, key=lambda pair: pair[0]):
            rows += self.tasks[name].encoded["train"].take([index for _, index in group])
        head = [self.order.index(name) for name, _ in own]
        pad = next(iter(self.tasks.values())).pad_token_id
        weight = [1.0 / len(drawn)] * len(own)
        batch = collate(rows, prompt=[0] * len(own), head=head, pad_token_id=pad, weight=weight)
        return batch.to(self.model.backbone.device)

    def _after_step(self, step: int, answers: Answers, batch: Batch) -> bool:
        self._recent.append(float(answers.loss.detach().mean()))
        if step % 10 == 0 or step == self.settings.steps:
            self.curve.append((step, sum(self._recent) / len(self._recent)))
            self._recent = []
        note = f"loss {self.curve[-1][1]:.3f}" if self.curve else ""
        self.world.event(stage="pretrain", done=step, total=self.settings.steps, note=note)
        return False

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"curve": self.curve, "recent": self._recent}
