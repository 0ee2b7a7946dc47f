"""What this machine offers, and how many workers that makes: read without Ray, so that the plan can tell."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.backbone import ShardingChoice
    from workflows.stages.graph import RunGraph

SHARE_FOR_BACKBONES = 0.6
"""Of the memory, at most this much is given to copies of the backbone; the rest is for activations."""


@dataclass(frozen=True)
class Machine:
    """One node.

    Args:
        cores: processors this process may use. memory: bytes available. gpus: their number. gpu_memory: bytes of one.
    """

    cores: int
    memory: int
    gpus: int
    gpu_memory: int

    def group_workers(self, wanted: int | str, launcher: str) -> int:
        """Ranks that share each pretraining step; auto: one per GPU, or one per four cores."""
        if launcher == "inline":
            return 1
        return int(wanted) if wanted != "auto" else self.gpus or max(1, self.cores // 4)

    def pool_workers(self, wanted: int | str, launcher: str, backbone_bytes: int) -> int:
        """Workers that adapt tasks side by side; auto: one per GPU, or one per core while their backbones fit."""
        if launcher == "inline":
            return 1
        if wanted != "auto":
            return int(wanted)
        fitting = int(SHARE_FOR_BACKBONES * self.memory / max(1, backbone_bytes))
        return self.gpus or max(1, min(self.cores, fitting))

    def sharding(self, graph: RunGraph, workers: int) -> ShardingChoice:
        """How so many ranks hold a run's backbone.

        Raises:
            InputError: see `choose_sharding`.
        """
        from pipeline.backbone import choose_sharding

        return choose_sharding(
            graph.config.backbone.sharding,
            backbone_bytes=graph.backbone_bytes,
            workers=workers,
            memory_per_worker=self.memory_per_worker(workers),
            whole=graph.info.whole,
            per_gpu=self.workers_per_gpu(workers),
        )

    def workers_per_gpu(self, workers: int) -> int:
        """How many ranks have to share a GPU; 0 where there is none."""
        return math.ceil(workers / self.gpus) if self.gpus else 0

    def memory_per_worker(self, workers: int) -> int:
        """Bytes that a rank may fill."""
        sharing = self.workers_per_gpu(workers)
        return self.gpu_memory // max(1, sharing) if self.gpus else self.memory // max(1, workers)


@lru_cache(maxsize=1)
def look_at_machine() -> Machine:
    """The machine this process runs on."""
    import psutil
    import torch

    gpus = torch.cuda.device_count()
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory=psutil.virtual_memory().available,
        gpus=gpus,
        gpu_memory=torch.cuda.get_device_properties(0).total_memory if gpus else 0,
    )
