"""Adaptation: the candidates of many tasks train together, in one batch, on one backbone.

A step holds the rows of every search that has entered, each row once per live candidate; the bank holds the prompts,
and each has its own head, learning rate, clock and early stopping. Nothing of one candidate reaches another, so each
ends where it would have ended alone. But the backbone is held once, rows are tokenised once, what lies below the
prompts is computed once, and the matrix products are large. Candidates that are done or cut make room for the next
task's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.backbone import Backbone
from pipeline.model import PromptedModel, bank_on
from pipeline.tasks import Batch, HeadBank, collate
from pipeline.training.adaptation.search import Search
from pipeline.training.candidates import Trained
from pipeline.training.evaluation.evaluate import look_at_dev
from pipeline.training.loop import Trainer
from pipeline.training.passes.packing import TOKENS_PER_PASS, Padding, Unit, pack, room_for
from pipeline.training.trunks import Trunks
from pipeline.training.world import World


@dataclass(frozen=True)
class CohortSettings:
    """How searches share a backbone.

    Args:
        pooling: see `PromptedModel`. room: candidates that train at the same time; a single search may exceed it.
        checkpoint_every: steps; 0 for none. rows_per_forward: the widest evaluation batch.
        tokens_per_pass: the widest training pass; 0 for what suits the device.
    """

    pooling: str
    room: int = 64
    checkpoint_every: int = 50
    rows_per_forward: int = 512
    tokens_per_pass: int = 0


class Cohort:
    """Searches on one backbone replica.

    Args:
        backbone: frozen, whole or sharded. searches: in the order in which they enter. settings: how they share.
        world: the worker's place. trunks: what is known of the layers below the prompts.
    """

    def __init__(
        self,
        backbone: Backbone,
        searches: Sequence[Search],
        settings: CohortSettings,
        world: World,
        trunks: Trunks | None = None,
    ) -> None:
        self.searches = list(searches)
        self.settings = settings
        self.world = world
        self.trunks = trunks or Trunks(backbone)
        self.padding = Padding()
        self.step = 0
        sizes = [len(search.candidates) for search in searches]
        self.first = [0, *accumulate(sizes)]  # search → the place of its first candidate in the banks
        owners = [(search, candidate) for search in searches for candidate in search.candidates]
        bank = bank_on(
            backbone.info,
            [search.start.begin(backbone, candidate, search.task.labels) for search, candidate in owners],
            [search.start.recipe.arrangement for search, _ in owners],
        )
        heads = HeadBank(
            [search.task.head(settings.pooling) for search, _ in owners],
            backbone.info.width,
            [candidate.seed for _, candidate in owners],
        )
        for n, (search, candidate) in enumerate(owners):
            given = search.start.heads.get(search.task.name) if candidate.start == "shared" else None
            if given is not None and given[0].shape == heads.weights[n].shape:
                heads.put(n, *given)
        self.model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device))
        self.trainer = Trainer(self.model, world)
        self.active: list[int] = []
        self._waiting = deque(range(len(searches)))
        vocabulary = max(search.task.kind.scored(backbone.info.vocabulary) for search in searches)
        widest = settings.tokens_per_pass or TOKENS_PER_PASS.get(backbone.device.type, 4096)
        self._limit = room_for(widest, vocabulary)

    def run(self) -> list[list[Trained]]:
        """Trains all searches, continuing from the latest checkpoint; each search's candidates at their best."""
        latest = self.world.latest()
        if latest is not None:
            self._restore(latest)
        for search in (one for one in self.searches if not one.done):
            for split in ("train", "dev"):
                self.trunks.prepare(search.task, split, search.first_layers, self.world)
        for s, search in enumerate(self.searches):
            if not search.settings.steps:  # nothing of it is trained: a look at dev is all
                self._evaluate(s)
                self.world.event(stage="adapt", task=search.task.name, done=1, total=1, note="scored as it is")
        self._admit()
        while self.active:
            self.trainer.update(self._passes(), self._factors())
            self.step += 1
            for s in list(self.active):
                self._advance(s)
            self._admit()
            every = self.settings.checkpoint_every
            if self.active and every and self.step % every == 0:
                self.world.save(lambda folder: self.trainer.save(folder, self.step, self._state), self.step)
        return [search.trained() for search in self.searches]

    def _admit(self) -> None:
        """Lets the next searches in while there is room for them."""
        while self._waiting:
            wanted = len(self.searches[self._waiting[0]].live)
            if self.trainer.live and len(self.trainer.live) + wanted > self.settings.room:
                break
            s = self._waiting.popleft()
            if not self.searches[s].done:  # a checkpoint may hold a search that had ended
                self._enter(s)

    def _enter(self, s: int) -> None:
        self.active.append(s)
        search = self.searches[s]
        for n in search.live:
            place, rate = self.first[s] + n, search.candidates[n].learning_rate
            self.trainer.enter(place, [place], rate, head_share=search.settings.head_share)

    def _factors(self) -> dict[int, float]:
        """Prompt → its learning rate's factor at its own search's step."""
        return {
            self.first[s] + n: factor
            for s in self.active
            for factor in [self.searches[s].factor()]  # once: one that goes by the clock moves on meanwhile
            for n in self.searches[s].live
        }

    def _passes(self) -> list[Batch]:
        """The rows of the present step, each once per live candidate; a candidate's weights add up to 1."""
        rows = {s: self.searches[s].rows() for s in self.active}
        units = [
            Unit(
                s,
                example,
                int(train.lengths[row]),
                self.first[s] + n,
                c.length,
                c.first_layer,
                int(train.sequences[row]),
            )
            for s in self.active
            for search in [self.searches[s]]
            for train in [search.task.encoded["train"]]
            for n in search.live
            for c in [search.candidates[n]]
            for example, row in enumerate(rows[s])
        ]
        taken = {s: self.searches[s].task.encoded["train"].take(rows[s]) for s in self.active}
        passes = []
        for one in pack(units, self._limit):
            self.padding.count(one)
            examples = sorted({(unit.search, unit.example) for unit in one})
            place = {key: r for r, key in enumerate(examples)}
            batch = collate(
                [taken[s][example] for s, example in examples],
                example=[place[unit.search, unit.example] for unit in one],
                prompt=[unit.prompt for unit in one],
                head=[unit.prompt for unit in one],
                pad_token_id=self.searches[one[0].search].task.pad_token_id,
                weight=[1.0 / len(rows[unit.search]) for unit in one],
            )
            own = {s: [rows[s][example] for _, example in group] for s, group in groupby(examples, itemgetter(0))}
            trunk = self._trunk(own, {unit.first_layer for unit in one}, batch.input_ids.shape[1])
            passes.append(replace(batch, trunk=trunk).to(self.model.backbone.device))
        return passes

    def _trunk(self, rows: Mapping[int, Sequence[int]], layers: set[int], width: int) -> dict[int, Tensor]:
        """What the cache knows of a pass, search after search: layer → [R, T, M], where it knows every row."""
        found = [self.trunks.take(self.searches[s].task, "train", own, layers, width) for s, own in rows.items()]
        return {
            layer: torch.cat([one[layer] for one in found]) for layer in layers if all(layer in one for one in found)
        }

    def _advance(self, s: int) -> None:
        """Ends a search's step: looks at dev when it is due, lets go who is done."""
        search = self.searches[s]
        before = search.live
        search.step += 1
        if search.looks_at_dev:
            self._evaluate(s)
            search.cut()
        leaving = before if search.done else sorted({*before} - {*search.live})
        for n in leaving:
            self.trainer.leave(self.first[s] + n)
        if search.done:
            self.active.remove(s)
        best = max(p.score for p in search.progress)
        note = f"{len(search.live)} of {len(search.candidates)} candidates"
        if best > -float("inf"):
            note += f", best dev {best:.3f}"
        done, total = search.course
        self.world.event(stage="adapt", task=search.task.name, done=done, total=total, note=note)

    def _evaluate(self, s: int) -> None:
        """Scores a search's live candidates on dev."""
        search = self.searches[s]
        live = search.live
        places = [self.first[s] + n for n in live]
        members = [(place, place) for place in places]
        looks = look_at_dev(self.model, search.task, members, self.settings.rows_per_forward, self.trunks)
        bank, heads = self.model.bank, self.model.heads
        assert bank is not None
        for n, place, (score, loss) in zip(live, places, looks, strict=True):
            search.record(n, score, loss, (bank.bake(place), *heads.bake(place)))

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        plain = []
        for s, search in enumerate(self.searches):
            own, entry = search.state()
            tensors |= {f"{s}.{name}": value for name, value in own.items()}
            plain.append(entry)
        padding = {"used": self.padding.used, "whole": self.padding.whole}
        return tensors, {"searches": plain, "active": self.active, "padding": padding}

    def _restore(self, folder: Path) -> None:
        def enter(extra: Mapping[str, Any]) -> None:
            for search, plain in zip(self.searches, extra["searches"], strict=True):
                search.restore({}, plain)
            self._waiting = deque(s for s in self._waiting if self.searches[s].step == 0)
            for s in extra["active"]:
                self._enter(s)

        state = self.trainer.load(folder, enter)
        self.step = state.step
        self.padding = Padding(**state.plain["padding"])
        for s, search in enumerate(self.searches):
            prefix = f"{s}."
            own = {k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)}
            search.restore(own, state.plain["searches"][s])
