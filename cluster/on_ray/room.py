"""Whether a cluster still has room for the workers that a run counts on: nodes leave, and Ray waits without a word."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import ray

from cluster.launcher import OnEvent
from cluster.shares import Share

LOOK_EVERY = 10.0  # seconds


def fitting(nodes: Sequence[Mapping[str, float]], each: Share) -> int:
    """How many workers with this share fit on `nodes`, empty as they are."""

    def on(node: Mapping[str, float]) -> int:
        counts = [node.get(name, 0) / wanted for name, wanted in (("CPU", each.cpus), ("GPU", each.gpus)) if wanted]
        return int(min(counts) + 1e-6) if counts else 0

    return sum(map(on, nodes))


@contextmanager
def watching_room(each: Share, workers: int, on_event: OnEvent) -> Iterator[None]:
    """While the context lasts, `on_event` hears when nodes are missing and when they are back."""
    done = threading.Event()

    def look() -> None:
        missing = False
        while not done.wait(LOOK_EVERY):
            with suppress(Exception):  # without a head there is nothing to look at; the main thread hears of it
                room = fitting([node["Resources"] for node in ray.nodes() if node["Alive"]], each)
                if room < workers and not missing:
                    on_event({"note": f"the cluster has room for {room} of {workers} workers: waiting for nodes"})
                if room >= workers and missing:
                    on_event({"note": f"the cluster has room for all {workers} workers again"})
                missing = room < workers

    thread = threading.Thread(target=look, name="room", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
