"""How many cores and GPUs one worker gets, from what the machines have. Ray does the placing."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Share:
    """What one worker reserves: whole cores or GPUs where there are enough, a fraction of one otherwise."""

    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """Threads torch may use in that worker."""
        return max(1, int(self.cpus))


def share(nodes: Sequence[Mapping[str, float]], workers: int) -> Share:
    """The largest equal share with which `workers` fit on `nodes` at the same time.

    Args:
        nodes: resources per node, as Ray reports them: `{"CPU": 8.0, "GPU": 1.0, …}`.
        workers: how many must fit.
    """
    return Share(
        cpus=_largest([int(node.get("CPU", 0)) for node in nodes], workers, at_most=None) or 1.0,
        gpus=_largest([int(node.get("GPU", 0)) for node in nodes], workers, at_most=1),
    )


def _largest(counts: Sequence[int], workers: int, at_most: int | None) -> float:
    total = sum(counts)
    if total == 0:
        return 0.0  # none yet: a cluster that grows on demand starts so
    for each in range(min(total // workers, at_most or total), 0, -1):
        # Cores of different nodes do not add up to one worker.
        if sum(count // each for count in counts) >= workers:
            return float(each)
    return 1.0 / math.ceil(workers / total)


def cores() -> int:
    """Cores this process may really use: its affinity, and the container's quota where there is one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no quota
        return allowed
