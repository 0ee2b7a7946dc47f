"""Pretraining: one shared prompt on the mixture of the source tasks (P-tuning v2, section 3.3, "multi-task learning").

Every batch mixes tasks; each task has its own head. The batch of a step is drawn for the whole group and dealt to the
ranks, so the gradients do not depend on how many there are. What is pretrained follows from the row → prompt map alone:

    shared     all rows run under prompt 0
    factors    task k's under prompt k, the shared prompt times a factor of the task's own (Wang et al. 2023, MPT)
    retrieval  task k's under prompt k, a prompt of its own (Vu et al. 2022, SPoT)

With `distil` a teacher per task trains first, and the shared prompt and its factors then learn from the teachers'
answers beside the gold ones (MPT, section 3.2; its third loss, on hidden states, is left out).

The prompt is *nested* (`pipeline.prompts.nesting`): each step trains its first q places only, q drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backbone import Backbone
from pipeline.model import PromptedModel, bank_on
from pipeline.prompts import DEEP, Encoder, Factored, Recipe, make_encoder, nested_places, ones_near
from pipeline.prompts.encoders import Identity
from pipeline.prompts.initialise import place_axis
from pipeline.tasks import Answers, Batch, HeadBank, Mixture, PreparedTask
from pipeline.training.adaptation.distil import taught_gold
from pipeline.training.loop import Objective, Schedule, Trainer, gold_loss
from pipeline.training.passes.mixed import MixedRows
from pipeline.training.pretraining.shared import PretrainSettings, SharedPrompt
from pipeline.training.pretraining.similarity import similarities
from pipeline.training.starts import make_prompt
from pipeline.training.world import World


class Pretraining:
    """Trains the shared prompt on one rank of a group.

    Args:
        backbone: frozen, whole or sharded. tasks: the source tasks, by name. settings: how. world: the rank's group.
        recipe: how prompts are made. source: what the initialiser `prompt` begins with.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, PreparedTask],
        settings: PretrainSettings,
        world: World,
        recipe: Recipe = DEEP,
        source: Tensor | None = None,
    ) -> None:
        self.tasks = dict(tasks)
        self.order = list(self.tasks)
        self.settings = settings
        self.world = world
        self.recipe = recipe
        labels = list(dict.fromkeys(label for task in self.tasks.values() for label in task.labels))
        self.first = make_prompt(
            settings.init, backbone, settings.length, settings.seed, settings.first_layer, recipe, labels, source
        )
        self.each = len(self.order) if settings.kind != "shared" else 1  # prompts that the rows of a step are dealt to
        teachers = len(self.order) if settings.distil else 0
        made = [*self._prompts(backbone), *(Identity(self.first) for _ in range(teachers))]
        bank = bank_on(backbone.info, made, [recipe.arrangement] * len(made))
        turns = list(self.tasks.values()) * (2 if teachers else 1)  # the teachers' heads come after the students'
        heads = HeadBank(
            [task.head(settings.pooling) for task in turns],
            backbone.info.width,
            # of retrieval all begin alike: what training adds to a prompt follows from its head, too
            [settings.seed if settings.kind == "retrieval" else settings.seed + i for i in range(len(turns))],
        )
        self.model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device))
        self.schedule = Schedule(settings.steps, settings.warmup)
        self.trainer = Trainer(self.model, world)
        sizes = {name: len(task.encoded["train"]) for name, task in self.tasks.items()}
        mixture = Mixture(sizes, settings.exponent, settings.cap, settings.seed)
        self.rows = MixedRows(self.tasks, mixture, settings.rows, world.rank, world.size, backbone.device)
        self.step = 0
        self.taught = settings.steps if settings.distil else 0
        """Steps in which teachers train; the students' come after them."""
        self.curve: list[tuple[int, float]] = []
        self._recent: list[float] = []
        self._enter()

    def run(self) -> SharedPrompt:
        """Trains to the end, continuing from the latest checkpoint."""
        latest = self.world.latest()
        if latest is not None:
            self._restore(latest)
        every, total = self.settings.checkpoint_every, self.taught + self.settings.steps
        while self.step < total:
            self._train_step()
            if self.step == self.taught < total:
                self._change_over()
            if every and self.step % every == 0 and self.step < total:
                self.world.save(lambda folder: self.trainer.save(folder, self.step, self._state), self.step)
        return self._shared()

    def _prompts(self, backbone: Backbone) -> list[Encoder]:
        """The prompts that the run is for, without teachers."""
        settings = self.settings
        if settings.kind == "factors":
            prompt = nn.Parameter(self.first.clone())
            axis = place_axis(self.first)
            per_place = self.first.select(axis, 0).shape
            seeds = [settings.seed + 2 * k for k in range(len(self.order))]
            return [
                Factored(prompt, ones_near([settings.length], seed), ones_near(per_place, seed + 1)) for seed in seeds
            ]
        width = backbone.info.width  # of retrieval all begin alike, networks included: else they could not be compared
        return [make_encoder(self.recipe.encoder, self.first, width, settings.seed) for _ in range(self.each)]

    def _enter(self) -> None:
        """Lets those train whose turn it is: prompts that share parameters, or a head's prompt, as one."""
        tasks, rate = len(self.order), self.settings.learning_rate
        enter = partial(self.trainer.enter, head_share=self.settings.head_share)
        if self.step < self.taught:
            for k in range(tasks):
                enter(self.each + k, [tasks + k], rate)
        elif self.settings.kind == "retrieval":
            for k in range(tasks):
                enter(k, [k], rate)
        else:
            enter(0, range(tasks), rate, range(self.each))

    def _change_over(self) -> None:
        """Whose turn it was leave, the others enter: students after their teachers, or whoever a checkpoint has."""
        for prompt in self.trainer.live:
            self.trainer.leave(prompt)
        self._enter()

    def _shared(self) -> SharedPrompt:
        bank, heads = self.model.bank, self.model.heads
        assert bank is not None
        by_task = {name: heads.bake(n) for n, name in enumerate(self.order)}
        if self.settings.kind == "factors":
            factored = [one for one in bank.encoders[: self.each] if isinstance(one, Factored)]
            factors = {
                name: (one.u.detach().cpu().clone(), one.v.detach().cpu().clone())
                for name, one in zip(self.order, factored, strict=True)
            }
            return SharedPrompt(factored[0].shared.detach().cpu().clone(), by_task, self.curve, factors=factors)
        if self.settings.kind == "retrieval":
            own = {name: bank.bake(k) for k, name in enumerate(self.order)}
            cosines = similarities(list(own.values()), self.first).tolist()
            matrix = {a: dict(zip(self.order, row, strict=True)) for a, row in zip(self.order, cosines, strict=True)}
            mean = torch.stack([own[name] for name in self.settings.sources or self.order]).mean(0)
            return SharedPrompt(mean, by_task, self.curve, own=own, similarity=matrix)
        return SharedPrompt(bank.bake(0), by_task, self.curve)

    def places_at(self, step: int) -> int:
        """How many places of the prompt a step trains."""
        settings = self.settings
        return nested_places(settings.length, settings.seed, step) if settings.nested else settings.length

    def passes_at(self, step: int) -> list[Batch]:
        """This rank's rows of a step, see `MixedRows`; each weighs the same over all ranks."""
        tasks, teaching = range(len(self.order)), step < self.taught
        prompts = [self.each + k if teaching else k if self.each > 1 else 0 for k in tasks]
        heads = [len(tasks) + k if teaching else k for k in tasks]
        return self.rows.passes(step, prompts, heads, self.places_at(step))

    def _train_step(self) -> None:
        total, teaching = self.taught + self.settings.steps, self.step < self.taught
        factor = self.schedule.factor(self.step if teaching else self.step - self.taught)
        passes = self.passes_at(self.step)
        stepping = [0]
        if teaching or self.settings.kind == "retrieval":  # a prompt for each task, and those step that have rows
            present = {self.order.index(name) for name, _ in self.rows.drawn(self.step)}
            stepping = sorted(k + self.each if teaching else k for k in present)
        objective = self._as_taught(passes) if self.taught and not teaching else gold_loss
        losses = self.trainer.update(
            passes, dict.fromkeys(stepping, factor), objective, places=self.places_at(self.step)
        )
        self.step += 1
        self._recent.append(float(torch.cat(losses).mean()))
        if self.step % 10 == 0 or self.step == total:
            self.curve.append((self.step, sum(self._recent) / len(self._recent)))
            self._recent = []
        note = f"loss {self.curve[-1][1]:.3f}" if self.curve else ""
        self.world.event(stage="pretrain", done=self.step, total=total, note=note)

    def _as_taught(self, passes: Sequence[Batch]) -> Objective:
        """The gold loss, and as much of the teachers' answers to the same rows, pass after pass."""
        told = iter([self._taught_golds(batch) for batch in passes])

        def objective(answers: Answers, batch: Batch) -> Tensor:
            loss = gold_loss(answers, batch)
            each = zip(next(told), answers.heads, answers.logits, answers.unit, answers.place, strict=True)
            for gold, head, logits, unit, place in each:
                scale = self.model.heads.heads[head].scale
                own = torch.unique(batch.unit[answers.row[place]])  # the units of the head's answers, [U_h]
                loss = loss + (scale.evidence(logits, gold, unit).loss(len(own)) * batch.weight[own]).sum()
            return loss

        return objective

    @torch.no_grad()
    def _taught_golds(self, batch: Batch) -> list[Any]:
        """What the teachers answer to a pass, head by head."""
        tasks = len(self.order)
        taught = self.model(replace(batch, prompt=batch.prompt + self.each, head=batch.head + tasks))
        scales = [self.model.heads.heads[n].scale for n in taught.heads]
        return [
            taught_gold(scale.logs(logits, unit).exp())
            for scale, logits, unit in zip(scales, taught.logits, taught.unit, strict=True)
        ]

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        if self.taught and self.step >= self.taught:  # the teachers have left the optimizer and still answer
            for k in range(self.each, 2 * self.each):
                tensors |= {f"teacher.{k}.{i}": p for i, p in enumerate(self._of_teacher(k))}
        return tensors, {"curve": self.curve, "recent": self._recent, "step": self.step}

    def _of_teacher(self, k: int) -> list[Tensor]:
        bank, heads = self.model.bank, self.model.heads
        assert bank is not None
        head = len(self.order) + k - self.each
        return [*bank.encoders[k].parameters(), heads.weights[head], heads.biases[head]]

    def _restore(self, folder: Path) -> None:
        def enter(extra: Mapping[str, Any]) -> None:
            self.step = int(extra["step"])
            self._change_over()

        state = self.trainer.load(folder, enter)
        with torch.no_grad():
            for name, value in state.tensors.items():
                _, k, i = name.split(".")
                self._of_teacher(int(k))[int(i)].copy_(value)
        self.curve = [(int(step), float(loss)) for step, loss in state.plain["curve"]]
        self._recent = list(state.plain["recent"])
