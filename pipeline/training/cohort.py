"""Adaptation: the candidates of a task train together as one cohort.

One batch holds each row once per live candidate, the bank holds the candidates, and each has its own head, learning
rate, clipping and early stopping. Nothing of one candidate reaches another, so each ends where it would have ended
alone; but the backbone is loaded once, the rows are tokenised and padded once, and the matrix products are large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.backbone import Backbone
from pipeline.model import PromptedModel
from pipeline.prompts import PromptBank
from pipeline.tasks import Answers, Batch, HeadBank, PreparedTask, collate, length_batches
from pipeline.training.evaluate import answer_split, score_answers
from pipeline.training.loop import REFERENCE_RATE, LoopSettings, Trainer
from pipeline.training.starts import Start
from pipeline.training.world import World


@dataclass(frozen=True)
class Candidate:
    """One prompt of a search.

    Args:
        start: "shared" (from the pretrained prompt, cut or extended) or "scratch".
        length: P. learning_rate: the prompt's and its head's. seed: draws whatever of the start is random.
    """

    start: str
    length: int
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.start}-p{self.length}-lr{self.learning_rate:g}-s{self.seed}"


@dataclass(frozen=True)
class CohortSettings:
    """How a cohort trains.

    Args:
        steps: at most. rows: training rows per step, before they are repeated per candidate.
        warmup: see `LoopSettings`. evaluate_every: steps between dev scores. patience: dev scores without a better one
            after which a candidate leaves; 0 never. rows_per_forward: the widest evaluation batch.
        seed: orders the training rows. checkpoint_every: steps; 0 for none.
    """

    steps: int
    rows: int
    warmup: float
    evaluate_every: int
    patience: int
    seed: int
    pooling: str
    checkpoint_every: int = 50
    rows_per_forward: int = 256


@dataclass
class Progress:
    """How far one candidate is: its best dev score so far, and the prompt and head that reached it."""

    score: float = -math.inf
    loss: float = math.inf
    step: int = 0
    stale: int = 0
    live: bool = True
    curve: list[tuple[int, float, float]] = field(default_factory=list)  # (step, dev score, dev loss)
    prompt: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True)
class Trained:
    """A candidate at its best dev score: prompt [L, 2, H, P, D], head weight [C, M] and bias [C], all baked."""

    candidate: Candidate
    score: float
    loss: float
    step: int
    curve: tuple[tuple[int, float, float], ...]
    prompt: Tensor
    weight: Tensor
    bias: Tensor


class Cohort:
    """The candidates of one task on one backbone replica.

    Args:
        backbone: frozen, whole or sharded.
        task: prepared; train and dev are used, test is not.
        candidates: at least one. start: where they begin. settings: how they train. world: the worker's place.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: PreparedTask,
        candidates: Sequence[Candidate],
        start: Start,
        settings: CohortSettings,
        world: World,
    ) -> None:
        self.task = task
        self.candidates = list(candidates)
        self.settings = settings
        self.world = world
        rates = [c.learning_rate / REFERENCE_RATE for c in candidates]
        prompts = [
            (start.shared if c.start == "shared" else start.scratch)(backbone, c.length, c.seed) for c in candidates
        ]
        count, width = len(task.labels), backbone.info.width
        bank = PromptBank(prompts, rates, start.first_layer)
        kinds = [task.head] * len(candidates)
        heads = HeadBank([count] * len(candidates), width, [c.seed for c in candidates], kinds, rates)
        given = start.heads.get(task.name)
        if given is not None and given[0].shape == (count, width):
            for n, candidate in enumerate(candidates):
                if candidate.start == "shared":
                    heads.put(n, *given)
        self.model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device), settings.pooling)
        loop = LoopSettings(settings.steps, settings.warmup, checkpoint_every=settings.checkpoint_every)
        self.trainer = Trainer(self.model, loop, world, groups=list(range(len(candidates))))
        self.progress = [Progress() for _ in candidates]
        self._batches: tuple[int, list[Any]] = (-1, [])

    def run(self) -> list[Trained]:
        """Trains the cohort, continuing from its latest checkpoint, and returns every candidate at its best."""
        latest = self.world.latest()
        if latest is not None:
            self._restore(*self.trainer.load(latest))
        if self._live:  # a checkpoint of the very end has none
            self.trainer.run(self._batch_at, self._after_step, self._state)
        if any(p.prompt is None for p in self.progress):  # fewer steps than one evaluation interval
            self._evaluate(self.trainer.step)
        return [self._trained(c, p) for c, p in zip(self.candidates, self.progress, strict=True)]

    @property
    def _live(self) -> list[int]:
        return [n for n, p in enumerate(self.progress) if p.live]

    def _batch_at(self, step: int) -> Batch:
        """Each row of the step once per live candidate; a candidate's weights add up to 1."""
        train = self.task.encoded["train"]
        per_epoch = -(-len(train.rows) // self.settings.rows)
        epoch, place = divmod(step, per_epoch)
        if self._batches[0] != epoch:
            order = length_batches(train.lengths, self.settings.rows, seed=self.settings.seed * 100_003 + epoch)
            self._batches = (epoch, order)
        rows = train.take(self._batches[1][place])
        live = self._live
        repeated = [n for n in live for _ in rows]
        return collate(
            rows * len(live),
            prompt=repeated,
            head=repeated,
            pad_token_id=self.task.pad_token_id,
            weight=[1.0 / len(rows)] * len(repeated),
        ).to(self.model.backbone.device)

    def _after_step(self, step: int, answers: Answers, batch: Batch) -> bool:
        if step % self.settings.evaluate_every == 0 or step == self.settings.steps:
            self._evaluate(step)
        best = max(p.score for p in self.progress)
        note = f"{len(self._live)} of {len(self.candidates)} candidates"
        if best > -math.inf:
            note += f", best dev {best:.3f}"
        self.world.event(stage="adapt", task=self.task.name, done=step, total=self.settings.steps, note=note)
        return not self._live

    def _evaluate(self, step: int) -> None:
        """Scores the live candidates on dev, keeps the best of each, and lets the ones that stopped improving go."""
        live = self._live
        members = [(n, n) for n in live]
        answers = answer_split(self.model, self.task, "dev", members, rows_per_batch=self.settings.rows_per_forward)
        losses = answers.loss(torch.from_numpy(self.task.label_ids("dev")))
        bank, heads = self.model.bank, self.model.heads
        assert bank is not None
        for k, n in enumerate(live):
            p = self.progress[n]
            value = score_answers(self.task, "dev", answers.logits[k].argmax(-1), answers.offsets)[self.task.metric]
            p.curve.append((step, value, losses[k]))
            # Equal scores are common on small dev sets: the lower loss is then the better candidate.
            if (value, -losses[k]) > (p.score, -p.loss):
                p.stale = 0 if value > p.score else p.stale + 1
                p.score, p.loss, p.step = value, losses[k], step
                p.prompt = bank.bake(n)
                p.weight, p.bias = heads.bake(n)
            else:
                p.stale += 1
            if self.settings.patience and p.stale >= self.settings.patience:
                p.live = False

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        plain = []
        for n, p in enumerate(self.progress):
            for name in ("prompt", "weight", "bias"):
                value = getattr(p, name)
                if value is not None:
                    tensors[f"{n}.{name}"] = value
            known = p.score > -math.inf
            plain.append(
                {
                    "score": p.score if known else None,
                    "loss": p.loss if known else None,
                    "step": p.step,
                    "stale": p.stale,
                    "live": p.live,
                    "curve": p.curve,
                }
            )
        return tensors, {"progress": plain, "candidates": [asdict(c) for c in self.candidates]}

    def _restore(self, tensors: dict[str, Tensor], extra: dict[str, Any]) -> None:
        for n, (p, plain) in enumerate(zip(self.progress, extra["progress"], strict=True)):
            if plain["score"] is not None:
                p.score, p.loss = plain["score"], plain["loss"]
            p.step, p.stale, p.live = plain["step"], plain["stale"], plain["live"]
            p.curve = [(int(s), float(v), float(loss)) for s, v, loss in plain["curve"]]
            p.prompt, p.weight, p.bias = (tensors.get(f"{n}.{name}") for name in ("prompt", "weight", "bias"))

    @staticmethod
    def _trained(candidate: Candidate, p: Progress) -> Trained:
        assert p.prompt is not None and p.weight is not None and p.bias is not None
        return Trained(candidate, p.score, p.loss, p.step, tuple(p.curve), p.prompt, p.weight, p.bias)
