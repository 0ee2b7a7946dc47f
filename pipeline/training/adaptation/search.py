"""A task's search: its candidates, its own clock, and who trains on.

Everything here is decided by the task's own dev scores. Which other searches share the batch does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.tasks import PreparedTask, length_batches
from pipeline.training.adaptation.halving import rungs, survivors
from pipeline.training.candidates import Candidate, Progress, Trained
from pipeline.training.loop import Schedule
from pipeline.training.starts import Start

Baked = tuple[Tensor, Tensor, Tensor]
"""Prompt [L, 2, H, P, D] or [P, E], head weight [C, M] and bias [C]."""


@dataclass(frozen=True)
class SearchSettings:
    """How the candidates of a task train.

    Args:
        steps: at most. rows: training rows per step, before they are repeated per candidate.
        warmup: see `Schedule`. evaluate_every: steps between dev scores. patience: dev scores without a better one
            after which a candidate leaves; 0 never. seed: orders the training rows.
        halving: of the cells still in play one in this many stays at each cut; 0 cuts nobody.
        head_share: of a candidate's learning rate, what its head takes.
    """

    steps: int
    rows: int
    warmup: float
    evaluate_every: int
    patience: int
    seed: int
    halving: int = 0
    head_share: float = 1.0


class Search:
    """Some candidates of one task.

    Args:
        task: prepared; train and dev are used, test is not. candidates: at least one. start: where they begin.
    """

    def __init__(
        self, task: PreparedTask, candidates: Sequence[Candidate], start: Start, settings: SearchSettings
    ) -> None:
        self.task = task
        self.candidates = list(candidates)
        self.start = start
        self.settings = settings
        self.schedule = Schedule(settings.steps, settings.warmup)
        self.step = 0
        self.progress = [Progress() for _ in candidates]
        self.cuts = self._cuts()
        self._batches: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    @property
    def live(self) -> list[int]:
        """Places of the candidates that are being trained."""
        return [n for n, p in enumerate(self.progress) if p.live]

    @property
    def first_layers(self) -> set[int]:
        """Where its prompts begin."""
        return {candidate.first_layer for candidate in self.candidates}

    @property
    def done(self) -> bool:
        return not self.live or self.step >= self.settings.steps

    @property
    def course(self) -> tuple[int, int]:
        """How far it is, of how much: steps, all of them when it ends early."""
        return self.settings.steps if self.done else self.step, self.settings.steps

    @property
    def looks_at_dev(self) -> bool:
        """Whether dev is to be scored after the step just taken.

        Until halving has made its last cut it looks only where it cuts: a look at all the candidates that are about to
        go costs more than the steps between two looks.
        """
        every, at = self.settings.evaluate_every, self.step
        cuts = {step for own in self.cuts.values() for step in own}
        return at in cuts or at == self.settings.steps or (at % every == 0 and at > max(cuts, default=0))

    def factor(self) -> float:
        """The factor on the learning rates at the present step."""
        return self.schedule.factor(self.step)

    def rows(self) -> NDArray[np.int64]:
        """The training rows of the present step: a function of the seed and the step."""
        train = self.task.encoded["train"]
        per_epoch = -(-len(train) // self.settings.rows)
        epoch, place = divmod(self.step, per_epoch)
        if self._batches[0] != epoch:
            order = length_batches(train.lengths, self.settings.rows, seed=self.settings.seed * 100_003 + epoch)
            self._batches = (epoch, order)
        return self._batches[1][place]

    def record(self, n: int, score: float, loss: float, baked: Baked) -> None:
        """Takes note of a candidate's look at dev; one that stopped improving goes."""
        p = self.progress[n]
        p.curve.append((self.step, score, loss))
        # Equal scores are common on small dev sets: the lower loss is then the better candidate.
        if (score, -loss) > (p.score, -p.loss):
            p.stale = 0 if score > p.score else p.stale + 1
            p.score, p.loss, p.step = score, loss, self.step
            p.prompt, p.weight, p.bias = baked
        else:
            p.stale += 1
        if self.settings.patience and p.stale >= self.settings.patience:
            p.live = False

    def cut(self) -> None:
        """Takes out the cells that successive halving gives up at the present step, each start by itself."""
        for start, cuts in self.cuts.items():
            if self.step not in cuts:
                continue
            cells: dict[Any, list[int]] = {}
            for n, (candidate, p) in enumerate(zip(self.candidates, self.progress, strict=True)):
                if candidate.start == start and p.cut is None:
                    cells.setdefault(candidate.cell, []).append(n)
            merits = {cell: self._merit(places) for cell, places in cells.items()}
            stay = survivors(merits, self.settings.halving)
            for cell, places in cells.items():
                for n in places if cell not in stay else ():
                    self.progress[n].cut, self.progress[n].live = self.step, False

    def trained(self) -> list[Trained]:
        """Every candidate at its best."""
        layout = self.start.recipe.layout
        return [Trained.of(c, p, layout) for c, p in zip(self.candidates, self.progress, strict=True)]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint keeps of the search."""
        tensors: dict[str, Tensor] = {}
        plain = []
        for n, p in enumerate(self.progress):
            entry = {key: value for key, value in vars(p).items() if key not in ("prompt", "weight", "bias")}
            if p.prompt is None:  # -inf is no JSON
                entry |= {"score": None, "loss": None}
            plain.append(entry)
            tensors |= {
                f"{n}.{name}": getattr(p, name) for name in ("prompt", "weight", "bias") if p.prompt is not None
            }
        return tensors, {"step": self.step, "progress": plain, "candidates": [asdict(c) for c in self.candidates]}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Continues from what `state` gave."""
        self.step = int(plain["step"])
        for n, entry in enumerate(plain["progress"]):
            known = {key: value for key, value in entry.items() if value is not None or key == "cut"}
            known["curve"] = [(int(s), float(v), float(loss)) for s, v, loss in entry["curve"]]
            p = self.progress[n] = Progress(**known)
            p.prompt, p.weight, p.bias = (tensors.get(f"{n}.{name}") for name in ("prompt", "weight", "bias"))

    def _cuts(self) -> dict[str, tuple[int, ...]]:
        """Start → the steps at which its cells are cut."""
        cells: dict[str, set[Any]] = {}
        for candidate in self.candidates:
            cells.setdefault(candidate.start, set()).add(candidate.cell)
        factor = self.settings.halving
        return {start: rungs(self.settings.steps, len(own), factor) for start, own in cells.items() if factor}

    def _merit(self, places: Sequence[int]) -> tuple[float, float]:
        """What a cell is worth: the mean over its seeds, which are repetitions and not candidates to pick from."""
        chosen = [self.progress[n] for n in places]
        return sum(p.score for p in chosen) / len(chosen), -sum(p.loss for p in chosen) / len(chosen)
