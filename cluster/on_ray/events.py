"""Progress from Ray workers to the driver: they post to a board, the driver's thread reads it."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.launcher import Event, OnEvent

LOG = logging.getLogger(__name__)
READ_EVERY = 0.2  # seconds; a progress bar needs no more


class _Board:
    """An actor that holds events until they are taken."""

    def __init__(self) -> None:
        self._events: dict[str, list[Event]] = defaultdict(list)

    def post(self, channel: str, event: Event) -> None:
        self._events[channel].append(event)

    def take(self, channel: str) -> list[Event]:
        return self._events.pop(channel, [])


class Sink:
    """A worker's end of a channel; travels in payloads. Posting costs a tenth of a millisecond and never fails."""

    def __init__(self, board: Any, channel: str) -> None:
        self._board, self._channel = board, channel
        self._last: Any = None

    def __call__(self, event: Event) -> None:
        with suppress(ray.exceptions.RayError):
            self._last = self._board.post.remote(self._channel, dict(event))

    def flush(self) -> None:
        """Waits until what was posted has arrived, so that no event is overtaken by the result it belongs to."""
        if self._last is not None:
            with suppress(ray.exceptions.RayError):
                ray.get(self._last, timeout=10)

    def __reduce__(self) -> tuple[object, ...]:
        return (Sink, (self._board, self._channel))


def make_board() -> Any:
    """Starts the board: it takes no core, stands on the driver's node, and goes when the driver goes."""
    # On another node it would go when that node leaves, and with it all progress from then on.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_concurrency=1, scheduling_strategy=here)(_Board).remote()


@contextmanager
def listening(board: Any, channel: str, on_event: OnEvent) -> Iterator[Sink]:
    """While the context lasts a thread hands the channel's events to `on_event`; the last ones before it ends."""
    done = threading.Event()

    def deliver() -> None:
        for event in ray.get(board.take.remote(channel), timeout=30):
            try:
                on_event(event)
            except Exception:  # a broken progress display must not end a run of hours
                LOG.exception("progress could not be shown: %s", event)

    def pump() -> None:
        while not done.wait(READ_EVERY):
            try:
                deliver()
            except ray.exceptions.GetTimeoutError:
                continue  # a loaded machine; nothing is lost, the board keeps it
            except ray.exceptions.RayError:
                return  # the cluster went away: the main thread hears of it

    thread = threading.Thread(target=pump, name="progress", daemon=True)
    thread.start()
    try:
        yield Sink(board, channel)
    finally:
        done.set()
        thread.join()
        with suppress(ray.exceptions.RayError):
            deliver()
