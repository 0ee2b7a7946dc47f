"""The launcher on Ray: groups are Ray Train workers, pools are actors."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from cluster.launcher import GroupWork, OnEvent, Payload, Pool, Setup
from cluster.on_ray.events import listening, make_board
from cluster.on_ray.group import run_group
from cluster.on_ray.pool import RayPool
from cluster.on_ray.room import watching_room
from cluster.shares import Share, share


class RayLauncher:
    """Runs work on the Ray cluster that this process has joined."""

    name = "ray"

    def __init__(self) -> None:
        self._board: Any = None

    def group(
        self, work: GroupWork, payload: Payload, *, workers: int, folder: Path, name: str, on_event: OnEvent
    ) -> Any:
        each = _share(workers)
        with (
            listening(self._events(), secrets.token_hex(8), on_event) as sink,
            watching_room(each, workers, on_event),
        ):
            return run_group(work, payload, workers=workers, each=each, folder=folder.absolute(), name=name, sink=sink)

    @contextmanager
    def pool(self, setup: Setup, common: Payload, *, workers: int, on_event: OnEvent) -> Iterator[Pool]:
        each = _share(workers)
        with (
            listening(self._events(), secrets.token_hex(8), on_event) as sink,
            watching_room(each, workers, on_event),
        ):
            pool = RayPool(setup, common, workers=workers, each=each, sink=sink)
            try:
                yield pool
            finally:
                pool.close()

    def _events(self) -> Any:
        if self._board is None:
            self._board = make_board()
        return self._board


def _share(workers: int) -> Share:
    return share([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
