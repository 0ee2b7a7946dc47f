"""Where work runs, seen from the stages: a group of ranks, or a pool of workers. Stages do not know which launcher they
have.

Importing this imports neither Ray nor torch; a launcher brings what it needs.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.training.world import World

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]
Payload = Mapping[str, Any]
GroupWork = Callable[[Payload, "World"], Any]
PoolWork = Callable[[Any, Payload, "World"], Any]
Setup = Callable[[Payload], Any]

LAUNCHERS = ("inline", "ray")


class WorkFailed(Exception):
    """Work raised something other than an `InputError`, or its process died.

    Attributes:
        kind: the type's name where it was raised, or "WorkerDied".
        reason: its message.
        trace: the traceback as text, from the process where it happened; "" when the process died.
        passing: whether another attempt may end differently (a lost peer, a broken connection).
    """

    def __init__(self, kind: str, reason: str, trace: str = "", passing: bool = False) -> None:
        self.kind, self.reason, self.trace, self.passing = kind, reason, trace, passing
        super().__init__(f"{kind}: {reason}" if reason else kind)

    @classmethod
    def of(cls, error: BaseException) -> WorkFailed:
        """What is told of `error` outside the process that raised it: text, so that it always travels."""
        if isinstance(error, WorkFailed):
            return error
        # torch reports a peer that went away as RuntimeError; a TypeError would only come again.
        passing = isinstance(error, RuntimeError | ConnectionError | TimeoutError)
        return cls(type(error).__name__, str(error), "".join(traceback.format_exception(error)), passing)

    def __reduce__(self) -> tuple[object, ...]:
        return (WorkFailed, (self.kind, self.reason, self.trace, self.passing))


def failure(error: BaseException) -> InputError | WorkFailed:
    """The form in which an error leaves a launcher: a user's mistake as it is, anything else as `WorkFailed`."""
    return error if isinstance(error, InputError) else WorkFailed.of(error)


@dataclass(frozen=True)
class Outcome:
    """What became of one payload of a pool: its value, or its error (`InputError` or `WorkFailed`)."""

    index: int
    value: Any = None
    error: BaseException | None = None


OnDone = Callable[[Outcome], None]


class Pool(Protocol):
    """Workers that were set up once and take payloads until the pool closes."""

    def map(
        self, work: PoolWork, payloads: Sequence[Payload], *, folders: Sequence[Path], on_done: OnDone | None = None
    ) -> list[Outcome]:
        """Runs `work(state, payload, world)` for every payload.

        Args:
            work: an importable top-level function.
            payloads: plain data; paths in it are absolute.
            folders: one per payload, on storage every worker reaches; `world` keeps the payload's checkpoints there.
            on_done: hears each outcome as it arrives, in the caller's thread.

        Returns:
            One outcome per payload, in their order. A failing payload never fails the others.

        Raises:
            InputError, WorkFailed: the setup failed, so that no payload could run.
        """


class Launcher(Protocol):
    """Runs work in one place or in many."""

    name: str

    def group(
        self, work: GroupWork, payload: Payload, *, workers: int, folder: Path, name: str, on_event: OnEvent
    ) -> Any:
        """Runs `work(payload, world)` on every rank and returns what rank 0 returned.

        With more than one rank a torch process group is initialised. `world.latest()` is the newest checkpoint that an
        earlier call with the same folder and name left, however that call ended.

        Raises:
            InputError: some rank raised it.
            WorkFailed: any other end.
        """

    def pool(self, setup: Setup, common: Payload, *, workers: int, on_event: OnEvent) -> AbstractContextManager[Pool]:
        """Workers that each call `setup(common)` once, before their first payload; what it returns is their `state`.

        `on_event` may be called from another thread than the caller's.
        """
