"""The schedule that draws rows from many tasks.

A training step needs its batch without having walked the steps before it, on any number of processes, also after a
restart. So the schedule is a pure function of (seed, step), built from two parts:

*Which task.* Draws are numbered through the whole run. A cycle of `_CYCLE` draws gives task i a whole number m_i of
them, its rate rounded, and the cycle repeats. Within it, the j-th draw of task i falls due at time (j + phase_i) / m_i,
and draws are taken in the order they fall due (stride scheduling). So any stretch of the schedule holds each task
nearly in proportion, and the count of task i before draw g is `(g // _CYCLE) * m_i` plus a table entry: no random
number per draw, no counter to save.

*Which row.* That count is the position in the task's own stream: epoch = position // size, and within an epoch a
permutation seeded by (seed, task name, epoch). Every row comes once before any comes again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

_CYCLE = 1 << 16


class Mixture:
    """Draws the global batch of any step.

    Args:
        sizes: training rows of each task.
        exponent: rate_i is proportional to min(size_i, cap) ** exponent: 1 draws by size, 0 draws all tasks alike.
        cap: sizes above it count as it (T5's artificial limit, Raffel et al. 2020, section 3.5.2); None for none.
        seed: the schedule's.

    Raises:
        InputError: no task, an empty task, or an impossible exponent or cap.
    """

    def __init__(self, sizes: Mapping[str, int], exponent: float = 1.0, cap: int | None = None, seed: int = 0) -> None:
        _check(sizes, exponent, cap)
        self.sizes = dict(sizes)
        self.seed = seed
        self._names = list(self.sizes)
        # In logarithms, so that a large exponent on a large task does not overflow.
        logs = exponent * np.log([min(size, cap or size) for size in self.sizes.values()])
        weights = np.exp(logs - logs.max())
        shares = weights / weights.sum()
        self.rates: dict[str, float] = dict(zip(self._names, shares.tolist(), strict=True))
        self._per_cycle = _whole_counts(shares)
        self._task, self._rank = self._cycle()
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def draw(self, step: int, rows: int) -> list[tuple[str, int]]:
        """The batch of a step over all processes: (task, row) pairs, grouped by task.

        Grouped, because then process r of w, which takes `[r::w]`, gets nearly its share of every task.

        Args:
            step: 0, 1, 2, ... in any order.
            rows: rows of the batch over all processes, the same in every step of a run.
        """
        draws = np.arange(step * rows, (step + 1) * rows, dtype=np.int64)
        cycle, place = np.divmod(draws, _CYCLE)
        tasks = self._task[place]
        positions = cycle * self._per_cycle[tasks] + self._rank[place]
        batch: list[tuple[str, int]] = []
        for task in np.unique(tasks).tolist():
            batch += ((self._names[task], self._row(task, position)) for position in positions[tasks == task].tolist())
        return batch

    def _cycle(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The task of each draw of a cycle, and how many draws of that task come before it in the cycle."""
        phases = np.random.default_rng([self.seed & 0xFFFFFFFF, 1]).random(len(self._names))
        task = np.repeat(np.arange(len(self._names), dtype=np.int64), self._per_cycle)
        rank = np.concatenate([np.arange(count, dtype=np.int64) for count in self._per_cycle])
        due = (rank + phases[task]) / self._per_cycle[task]
        order = np.lexsort((task, due))
        return task[order], rank[order]

    def _row(self, task: int, position: int) -> int:
        epoch, place = divmod(position, self.sizes[self._names[task]])
        kept = self._orders.get(task)
        if kept is None or kept[0] != epoch:
            # One permutation per task is kept, for speed only: what it holds follows from (seed, task name, epoch).
            kept = self._orders[task] = (epoch, self._permutation(self._names[task], epoch))
        return int(kept[1][place])

    def _permutation(self, name: str, epoch: int) -> NDArray[np.int64]:
        # Seeded by the name, not by the place in the list: adding a task leaves the order of the others as it was.
        digest = hashlib.sha256(f"{self.seed}/{name}/{epoch}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big")).permutation(self.sizes[name])


def _whole_counts(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """`shares` of a cycle as whole numbers that sum to it (largest remainder), at least 1 each."""
    spare = _CYCLE - len(shares)
    exact = shares * spare
    counts = np.floor(exact).astype(np.int64)
    short = spare - int(counts.sum())
    counts[np.argsort(-(exact - counts), kind="stable")[:short]] += 1
    return counts + 1


def _check(sizes: Mapping[str, int], exponent: float, cap: int | None) -> None:
    if not sizes:
        raise InputError("a mixture needs at least one task", where="mixing")
    if len(sizes) > _CYCLE // 2:
        raise InputError(f"a mixture holds at most {_CYCLE // 2} tasks", where="mixing", found=len(sizes))
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"task {name!r} has no training rows", where="mixing", found=size)
    if not math.isfinite(exponent) or exponent < 0:
        raise InputError("the exponent must be 0 or more", where="mixing.exponent", found=exponent)
    if cap is not None and cap < 1:
        raise InputError("the cap must be positive", where="mixing.cap", found=cap)
