"""Pretraining: one shared prompt on the mixture of the source tasks (P-tuning v2, section 3.3, "multi-task learning").

Every batch mixes tasks; each task has its own head, all rows run under prompt 0. The batch of a step is drawn for the
whole group and dealt to the ranks, so the gradients do not depend on how many there are.

The prompt is *nested*: each step trains its first q places only, q drawn anew, so that any prefix of it is a prompt by
itself and one pretraining serves every length (the idea of Matryoshka representations, Kusupati et al. 2022, section 3,
with one draw a step instead of a sum over sizes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pipeline.backbone import Backbone
from pipeline.model import PromptedModel
from pipeline.prompts import PromptBank
from pipeline.tasks import Batch, Example, HeadBank, Mixture, PreparedTask, collate
from pipeline.training.loop import Schedule, Trainer
from pipeline.training.starts import make_prompt
from pipeline.training.world import World


@dataclass(frozen=True)
class PretrainSettings:
    """How the shared prompt trains.

    Args:
        steps: optimizer steps. rows: rows per step over all ranks. learning_rate: the prompt's and the heads'.
        warmup: see `Schedule`. exponent, cap: see `Mixture`. seed: schedule, lengths and start.
        length: P. init: the initialiser. first_layer: the lowest prompted layer. pooling: see `PromptedModel`.
        nested: whether each step draws a length. checkpoint_every: steps; 0 for none.
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
    nested: bool = True
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


def nested_places(length: int, seed: int, step: int) -> int:
    """How many places a step trains: the whole prompt in every other step, else any number from an eighth of it.

    Longest first: step 0 trains all places, and the whole prompt, which most uses take, is never rarer than a cut one.
    Halves, quarters and eighths come equally often (the number is drawn uniformly on a logarithmic scale): a uniform
    one would practise a quarter of the prompt, which the search takes as readily as a half, half as often.
    A function of the seed and the step alone, so that every rank and every resumed run draws the same.
    """
    if step % 2 == 0:
        return length
    least = max(1, length // 8)
    drawn = least * (length / least) ** np.random.default_rng([seed & 0xFFFFFFFF, 2, step]).random()
    return min(length, max(1, round(drawn)))


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
        first = make_prompt(settings.init, backbone, settings.length, settings.seed, settings.first_layer)
        bank = PromptBank([first], backbone.info.layers)
        heads = HeadBank(
            [task.head(settings.pooling) for task in self.tasks.values()],
            backbone.info.width,
            [settings.seed + i for i in range(len(self.tasks))],
        )
        self.model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device))
        self.schedule = Schedule(settings.steps, settings.warmup)
        self.trainer = Trainer(self.model, world)
        self.trainer.enter(0, range(len(self.tasks)), settings.learning_rate)
        sizes = {name: len(task.encoded["train"]) for name, task in self.tasks.items()}
        self.mixture = Mixture(sizes, settings.exponent, settings.cap, settings.seed)
        self.step = 0
        self.curve: list[tuple[int, float]] = []
        self._recent: list[float] = []

    def run(self) -> SharedPrompt:
        """Trains to the end, continuing from the latest checkpoint."""
        latest = self.world.latest()
        if latest is not None:
            self._restore(latest)
        every = self.settings.checkpoint_every
        while self.step < self.settings.steps:
            self._train_step()
            if every and self.step % every == 0 and self.step < self.settings.steps:
                self.world.save(lambda folder: self.trainer.save(folder, self.step, self._state), self.step)
        bank, heads = self.model.bank, self.model.heads
        assert bank is not None
        return SharedPrompt(bank.bake(0), {name: heads.bake(n) for n, name in enumerate(self.order)}, self.curve)

    def places_at(self, step: int) -> int:
        """How many places of the prompt a step trains."""
        settings = self.settings
        return nested_places(settings.length, settings.seed, step) if settings.nested else settings.length

    def batch_at(self, step: int) -> Batch:
        """This rank's rows of a step, each weighing the same over all ranks."""
        drawn = self.mixture.draw(step, self.settings.rows)
        own = drawn[self.world.rank :: self.world.size]
        rows: list[Example] = []
        for name, group in groupby(own, key=lambda pair: pair[0]):
            rows += self.tasks[name].encoded["train"].take([index for _, index in group])
        head = [self.order.index(name) for name, _ in own]
        pad = next(iter(self.tasks.values())).pad_token_id
        weight = [1.0 / len(drawn)] * len(own)
        batch = collate(rows, prompt=[0] * len(own), head=head, pad_token_id=pad, weight=weight)
        return batch.to(self.model.backbone.device)

    def _train_step(self) -> None:
        factors = {0: self.schedule.factor(self.step)}
        batch = self.batch_at(self.step)
        (losses,) = self.trainer.update([batch], factors, places=self.places_at(self.step))
        self.step += 1
        self._recent.append(float(losses.mean()))
        if self.step % 10 == 0 or self.step == self.settings.steps:
            self.curve.append((self.step, sum(self._recent) / len(self._recent)))
            self._recent = []
        note = f"loss {self.curve[-1][1]:.3f}" if self.curve else ""
        self.world.event(stage="pretrain", done=self.step, total=self.settings.steps, note=note)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"curve": self.curve, "recent": self._recent}

    def _restore(self, folder: Path) -> None:
        state = self.trainer.load(folder)
        self.step = state.step
        self.curve = [(int(step), float(loss)) for step, loss in state.plain["curve"]]
        self._recent = list(state.plain["recent"])
