"""A pool of Ray actors: set up once, the next payload to the first that is free, the dead replaced."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from cluster.launcher import OnDone, Outcome, Payload, PoolWork, Setup, WorkFailed, failure
from cluster.on_ray.events import Sink
from cluster.shares import Share

LOG = logging.getLogger(__name__)
ATTEMPTS = 3  # of a payload, or of a setup, whose process dies


class _Worker:
    """The actor. Errors are returned, not raised: only the death of the process raises in the driver."""

    def __init__(self, threads: int, sink: Sink) -> None:
        import torch

        torch.set_num_threads(threads)
        self._sink = sink
        self._state: Any = None

    def prepare(self, setup: Setup, common: Payload) -> Outcome:
        try:
            self._state = setup(common)
            return Outcome(-1)
        except Exception as error:
            return Outcome(-1, error=failure(error))

    def run(self, work: PoolWork, index: int, payload: Payload, folder: str) -> Outcome:
        from pipeline.training.world import LocalWorld

        try:
            value = work(self._state, payload, LocalWorld(Path(folder), self._sink))
            return Outcome(index, value=value)
        except Exception as error:
            return Outcome(index, error=failure(error))
        finally:
            self._sink.flush()


@dataclass
class _Slot:
    """One place of the pool: its actor, and what it is doing (`task` is None while it sets up or waits)."""

    actor: Any = None
    pending: Any = None
    task: int | None = None
    setups_lost: int = 0


class RayPool:
    """See `cluster.launcher.Pool`. Actors start with the first map, no more than it has payloads."""

    def __init__(self, setup: Setup, common: Payload, *, workers: int, each: Share, sink: Sink) -> None:
        self._setup, self._sink, self._each = setup, sink, each
        self._common = ray.put(common)
        self._slots = [_Slot() for _ in range(workers)]
        self._actor = ray.remote(num_cpus=each.cpus, num_gpus=each.gpus, max_restarts=0)(_Worker)

    def map(
        self, work: PoolWork, payloads: Sequence[Payload], *, folders: Sequence[Path], on_done: OnDone | None = None
    ) -> list[Outcome]:
        jobs = list(zip(payloads, (str(folder.absolute()) for folder in folders), strict=True))
        waiting = deque(range(len(jobs)))
        attempts = [0] * len(jobs)
        outcomes: dict[int, Outcome] = {}
        try:
            while len(outcomes) < len(jobs):
                self._start(len(waiting))
                for slot in self._slots:
                    if waiting and slot.actor is not None and slot.pending is None:
                        slot.task = waiting.popleft()
                        attempts[slot.task] += 1
                        slot.pending = slot.actor.run.remote(work, slot.task, *jobs[slot.task])
                slot = self._first_done()
                task = slot.task
                outcome = self._take(slot)
                if task is None:
                    continue
                if outcome is None and attempts[task] < ATTEMPTS:
                    waiting.appendleft(task)
                    continue
                outcomes[task] = outcome or Outcome(task, error=_died(attempts[task]))
                if on_done is not None:
                    on_done(outcomes[task])
        except BaseException:
            self.close()  # what still runs belongs to a map that nobody waits for
            raise
        return [outcomes[index] for index in range(len(jobs))]

    def close(self) -> None:
        """Ends the actors; what they reserved is free again, and a later map starts new ones."""
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
        self._slots = [_Slot() for _ in self._slots]

    def _start(self, waiting: int) -> None:
        """Fills empty places while more payloads wait than actors are idle or setting up."""
        ready = sum(slot.actor is not None and slot.task is None for slot in self._slots)
        for slot in self._slots:
            if slot.actor is None and ready < waiting:
                slot.actor = self._actor.remote(self._each.threads, self._sink)
                slot.pending = slot.actor.prepare.remote(self._setup, self._common)
                ready += 1

    def _first_done(self) -> _Slot:
        busy = {slot.pending: slot for slot in self._slots if slot.pending is not None}
        done, _ = ray.wait(list(busy), num_returns=1)
        return busy[done[0]]

    def _take(self, slot: _Slot) -> Outcome | None:
        """What the slot's actor answered; None when it died, and then the slot is empty.

        Raises:
            InputError, WorkFailed: the answer is that the setup failed, or it died too often.
        """
        task, pending = slot.task, slot.pending
        slot.task = slot.pending = None
        try:
            outcome: Outcome = ray.get(pending)
        except ray.exceptions.RayTaskError as error:  # the answer itself could not travel
            outcome = Outcome(-1 if task is None else task, error=failure(error.cause or error))
        except ray.exceptions.RayError as error:
            LOG.warning("a worker died: %s", error)
            self._sink({"note": "a worker died; what it was doing starts again from its last checkpoint"})
            with suppress(ray.exceptions.RayError):
                ray.kill(slot.actor)  # one that only does not answer still holds its core
            slot.actor = None
            slot.setups_lost += task is None
            if slot.setups_lost == ATTEMPTS:
                raise _died(ATTEMPTS) from error
            return None
        if task is None and outcome.error is not None:
            raise outcome.error
        return outcome


def _died(attempts: int) -> WorkFailed:
    return WorkFailed("WorkerDied", f"the worker process died {attempts} times; out of memory is the usual cause")
