"""Work that the tests of this room hand to launchers; workers import it by name."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError
from pipeline.training.world import World

Payload = Mapping[str, Any]


def setup(common: Payload) -> dict[str, Any]:
    """Leaves a mark per call, so that a test can count set-ups."""
    if "marks" in common:
        (Path(common["marks"]) / f"{os.getpid()}-{time.time_ns()}").touch()
    if common.get("dies"):
        os._exit(5)
    if common.get("refuses"):
        raise InputError("no such folder", where="backbone.model", found="nowhere", nearest="minilm")
    return {"base": common["base"]}


def add(state: dict[str, Any], payload: Payload, world: World) -> Any:
    """base + x; misbehaves as `how` says."""
    how = payload.get("how")
    if how == "input":
        raise InputError("no such column", where="tasks[0].columns", found="txt", nearest="text")
    if how == "broken":
        raise TypeError("the code is wrong here")
    if how == "unpicklable":
        return threading.Lock()
    if how == "dies":
        os._exit(7)
    if how == "waits":
        _wait_for(Path(payload["until"]))
    world.event(task=payload["x"], done=1, total=1)
    if "leaves" in payload:
        Path(payload["leaves"]).touch()
    return state["base"] + payload["x"]


def count_to_six(state: dict[str, Any], payload: Payload, world: World) -> list[int]:
    """Counts on from the last checkpoint to six; the process dies once, at four. Returns what this attempt counted."""
    start = _read(world)
    for n in range(start + 1, 7):
        world.save(_writer(n), n)
        if n == 4 and start == 0:
            os._exit(9)
    return list(range(start + 1, 7))


def train(payload: Payload, world: World) -> dict[str, Any]:
    """Eight steps of a toy training with a sum over ranks, a checkpoint every second one, and accidents on rank 1."""
    start = _read(world)
    accidents = payload["accidents"]
    total = 0.0
    for n in range(start + 1, 9):
        here = torch.tensor([float(world.rank + 1)])
        if world.size > 1:
            torch.distributed.all_reduce(here)
        total = float(here)
        world.event(done=n, total=8)
        if n % 2 == 0:
            world.save(_writer(n), n)
        if accidents and n == 3 and start == 0 and world.rank == 1:
            os._exit(3)
        if accidents and n == 5 and world.rank == 1:
            raise InputError("a label that train lacks", where="dev.jsonl:5", found="musik", nearest="music")
    return {"start": start, "size": world.size, "sum": total, "rank": world.rank}


def fails(payload: Payload, world: World) -> None:
    raise KeyError(payload["key"])


def _writer(n: int) -> Any:
    return lambda folder: (folder / "n.json").write_text(json.dumps(n))


def _read(world: World) -> int:
    latest = world.latest()
    return int(json.loads((latest / "n.json").read_text())) if latest else 0


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.02)
