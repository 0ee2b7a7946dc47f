"""A search that ends by the clock: so many seconds instead of so many steps, and one look at dev, at the end.

How many steps that makes depends on the machine and on what else it does, so two such searches need not end alike. They
are for comparing what methods come to in equal time, and have no checkpoints: time that has passed does not come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.tasks import PreparedTask
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.loop import Schedule
from pipeline.training.starts import Start

_ENDLESS = 10**9
_TICKS = 10_000  # of a schedule over a time instead of over steps


class TimedSearch(Search):
    """Some candidates of one task that train until their time is up; the clock starts when this is made.

    Args:
        seconds: for all candidates together.
    """

    def __init__(
        self,
        task: PreparedTask,
        candidates: Sequence[Candidate],
        start: Start,
        settings: SearchSettings,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        never = {"steps": _ENDLESS, "evaluate_every": _ENDLESS, "patience": 0, "halving": 0}
        super().__init__(task, candidates, start, replace(settings, **never))
        self.seconds = seconds
        self._clock, self._began = clock, clock()
        self._over = False
        self._course = Schedule(_TICKS, settings.warmup)

    @property
    def passed(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    @property
    def done(self) -> bool:
        return self._over

    @property
    def looks_at_dev(self) -> bool:
        """Once, when the time is up; the first step always counts, however long it took."""
        self._over = self._over or self.passed >= self.seconds
        return self._over

    @property
    def course(self) -> tuple[int, int]:
        total = max(1, round(self.seconds))
        return total if self._over else min(int(self.passed), total - 1), total

    def factor(self) -> float:
        return self._course.factor(min(_TICKS - 1, int(_TICKS * self.passed / self.seconds)))
