"""One worker's frozen backbone, and what it answers: what every stage of a worker stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone import Backbone, load_backbone
from pipeline.tasks import PreparedTask
from pipeline.training.candidates import Trained
from pipeline.training.evaluation.answering import answer_together, write_together
from pipeline.training.trunks import Trunks
from pipeline.training.world import World

Payload = Mapping[str, Any]


def open_backbone(payload: Payload, weights: str | None = None) -> Backbone:
    """This worker's backbone, whole, on its device; on a processor all workers of a node map one copy of `weights`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = Path(weights) if weights is not None and device == "cpu" else None
    return load_backbone(
        payload["model"],
        revision=payload["revision"],
        dtype=payload["dtype"],
        device=device,
        mapped=folder,
        attention=payload["attention"],
        checkpointing=payload["checkpointing"],
    )


class Replica:
    """One worker's frozen backbone and its trunks, for all the tasks that come to it."""

    def __init__(self, payload: Payload) -> None:
        self.backbone = open_backbone(payload["backbone"], payload["weights"])
        if payload["vocabulary"]:
            self.backbone.open_vocabulary()
        self.checksum = self.backbone.checksum()
        self.pooling: str = payload["pooling"]
        kept = payload["trunk"]
        self.trunks = Trunks(self.backbone, Path(kept["folder"]), kept["max_bytes"]) if kept else Trunks(self.backbone)

    def answer(self, task: PreparedTask, split: str, trained: Sequence[Trained], world: World, stage: str) -> Any:
        """All candidates on a split in one pass, with progress."""

        def progress(done: int, total: int) -> None:
            world.event(stage=stage, task=task.name, done=done, total=total, note=split)

        return answer_together(
            self.backbone, task, split, trained, pooling=self.pooling, trunks=self.trunks, on_batch=progress
        )

    def write(self, task: PreparedTask, split: str, trained: Sequence[Trained], world: World, stage: str) -> Any:
        """The texts that all candidates write for a split, side by side, with progress."""

        def progress(done: int, total: int) -> None:
            world.event(stage=stage, task=task.name, done=done, total=total, note=f"writing {split}")

        return write_together(self.backbone, task, split, trained, pooling=self.pooling, on_batch=progress)

    def told(self, task: PreparedTask, split: str, trained: Sequence[Trained], world: World, stage: str) -> Any:
        """What each candidate says of a split: probabilities [K, A, C], or of a task that is written texts, [K][R]."""
        if task.kind.written:
            return self.write(task, split, trained, world, stage)
        return self.answer(task, split, trained, world, stage).probabilities

    def check(self) -> None:
        """Raises RuntimeError if training wrote to the backbone."""
        if self.backbone.checksum() != self.checksum:
            raise RuntimeError("the backbone was written during adaptation; its result is not to be trusted")
