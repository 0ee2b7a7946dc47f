"""What one worker knows of its group and its place: its rank, where checkpoints go, who hears of progress.

The training code is the same in one process, in a Ray actor and in a group of Ray Train workers; only the `World`
differs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

Writer = Callable[[Path], None]


class World(Protocol):
    """A worker's view of its group."""

    rank: int
    size: int

    def event(self, **fields: Any) -> None:
        """Tells of progress (`stage`, `task`, `done`, `total`, `note`); cheap, never fails."""

    def save(self, write: Writer, step: int) -> None:
        """Collective. Rank 0's `write(folder)` fills a checkpoint folder; it is complete or not there at all."""

    def latest(self) -> Path | None:
        """The newest complete checkpoint folder, or None."""


class LocalWorld:
    """A world of one process. Checkpoints lie under `folder/checkpoints`, the last two are kept.

    Args:
        folder: the stage's unfinished folder; on a cluster it lies on shared storage.
        on_event: hears of progress.
    """

    rank = 0
    size = 1

    def __init__(self, folder: Path, on_event: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self.folder = folder / "checkpoints"
        self._on_event = on_event

    def event(self, **fields: Any) -> None:
        if self._on_event is not None:
            self._on_event(fields)

    def save(self, write: Writer, step: int) -> None:
        final = self.folder / f"{step:08d}"
        part = self.folder / f"{step:08d}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
        for old in self._complete()[:-2]:
            shutil.rmtree(old, ignore_errors=True)

    def latest(self) -> Path | None:
        complete = self._complete()
        return complete[-1] if complete else None

    def _complete(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.name.isdigit())


def sum_over_ranks(tensors: Sequence[Tensor], size: int) -> None:
    """Adds each tensor up over the ranks, in place: one message for all of them."""
    if size == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, piece in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))


def save_json(path: Path, value: Any) -> None:
    """JSON with sorted keys, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
