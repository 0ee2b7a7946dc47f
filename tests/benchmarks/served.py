"""What the benchmarks `serve` and `promote` share: registered champions on MiniLM, and callers that ask without pause.

The prompts are random numbers: what they answer is of no interest, how long it takes does not depend on it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pipeline.backbone import Backbone, load_backbone
from pipeline.registry import BackboneIdentity, Facts, Member, PromptRegistry, TaskIdentity, save_artifact
from tests.benchmarks.telling import asking, tell

PLACES, LABELS = 16, tuple(f"label-{n}" for n in range(8))
TEXTS = (
    "where is the parcel that i ordered last week for my mother, it should have come yesterday",
    "please cancel my order",
    "i was charged twice for the same month and nobody answers the phone",
    "how do i change the address of my account before the next delivery goes out on friday morning",
)


def register(
    registry: PromptRegistry, backbone: Backbone, dtype: str, name: str, folder: Path, seed: int, **how: Any
) -> int:
    """Registers a version of a task's prompt; the version's number."""
    info, draw = backbone.info, torch.Generator().manual_seed(seed)
    shape = (info.layers, 2, info.heads, PLACES, info.head_size)
    weight = torch.randn(len(LABELS), info.width, generator=draw)
    facts = Facts(
        kind="task",
        name=name,
        layers=info.layers,
        width=info.width,
        pooling="mean",
        task=TaskIdentity(
            type="classification", labels=LABELS, columns={}, max_tokens=None, too_long="truncate", metric="accuracy"
        ),
        backbone=BackboneIdentity.of(info, dtype),
        data={},
        metrics={},
        training={},
    )
    save_artifact(folder, [Member(torch.randn(shape, generator=draw), weight, torch.zeros(len(LABELS)))], facts)
    return registry.register(folder, **how).version


def champions(folder: Path, dtype: str, tasks: int) -> tuple[PromptRegistry, Backbone]:
    """A registry of champions for `task-0` and so on, and the backbone they are for."""
    registry = PromptRegistry(f"sqlite:///{folder}/mlflow.db")
    backbone = load_backbone("minilm", dtype=dtype)
    for n in range(tasks):
        register(registry, backbone, dtype, f"task-{n}", folder / f"task-{n}", seed=n)
    return registry, backbone


def told(about: str | None, measure: Callable[[Path], dict[str, Any]]) -> None:
    """Measures in a scratch folder and prints one JSON object; with `--out FILE` it is written there, too."""
    chosen = asking(about).parse_args()
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__}
    with TemporaryDirectory() as scratch:
        tell({"machine": machine, **measure(Path(scratch))}, chosen.out)


@dataclass(frozen=True)
class Reply:
    """When an answer came, after how many seconds, with which status, by which version."""

    at: float
    seconds: float
    status: int
    version: int


async def ask(url: str, tasks: Sequence[str], callers: int, until: Callable[[], bool]) -> list[Reply]:
    """Callers that each ask for one row, wait for the answer and ask again; tasks take turns over all callers.

    Args:
        until: looked at before each request; True ends it.
    """
    import aiohttp

    replies: list[Reply] = []
    turns = itertools.count()
    connector = aiohttp.TCPConnector(limit=callers)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def caller() -> None:
            while not until():
                turn = next(turns)
                row = {"task": tasks[turn % len(tasks)], "text": TEXTS[turn // len(tasks) % len(TEXTS)]}
                began = time.perf_counter()
                status, version = 0, 0  # 0: no answer at all
                try:
                    async with session.post(f"{url}/v1/predict", json={"rows": [row]}) as reply:
                        status, told = reply.status, await reply.json()
                        version = told["answers"][0]["version"] if status == 200 else 0
                except (aiohttp.ClientError, TimeoutError):
                    pass
                now = time.perf_counter()
                replies.append(Reply(now, now - began, status, version))

        await asyncio.gather(*(caller() for _ in range(callers)))
    return replies


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
