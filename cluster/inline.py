"""The launcher without Ray: one process, one rank, one payload after the other. The same outcomes as on Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.launcher import GroupWork, OnDone, OnEvent, Outcome, Payload, Pool, PoolWork, Setup, failure
from pipeline.errors import InputError
from pipeline.training.world import LocalWorld


class InlineLauncher:
    """Runs everything where it is called. `workers` is a wish that it cannot grant: there is one."""

    name = "inline"

    def group(
        self, work: GroupWork, payload: Payload, *, workers: int, folder: Path, name: str, on_event: OnEvent
    ) -> Any:
        world = LocalWorld(folder.absolute() / name, on_event)
        try:
            return work(payload, world)
        except InputError:
            raise
        except Exception as error:
            raise failure(error) from error

    @contextmanager
    def pool(self, setup: Setup, common: Payload, *, workers: int, on_event: OnEvent) -> Iterator[Pool]:
        yield InlinePool(setup, common, on_event)


class InlinePool:
    """A pool of one worker: the caller."""

    def __init__(self, setup: Setup, common: Payload, on_event: OnEvent) -> None:
        self._setup, self._common, self._on_event = setup, common, on_event
        self._state: Any = None
        self._ready = False

    def map(
        self, work: PoolWork, payloads: Sequence[Payload], *, folders: Sequence[Path], on_done: OnDone | None = None
    ) -> list[Outcome]:
        if not payloads:
            return []
        if not self._ready:
            try:
                self._state = self._setup(self._common)
            except InputError:
                raise
            except Exception as error:
                raise failure(error) from error
            self._ready = True
        outcomes = []
        for index, (payload, folder) in enumerate(zip(payloads, folders, strict=True)):
            world = LocalWorld(folder.absolute(), self._on_event)
            try:
                outcome = Outcome(index, value=work(self._state, payload, world))
            except Exception as error:
                outcome = Outcome(index, error=failure(error))
            if on_done is not None:
                on_done(outcome)
            outcomes.append(outcome)
        return outcomes
