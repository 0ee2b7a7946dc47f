"""What lies below the prompts, for the rows of prepared tasks: from the cache where there is one.

Candidates, seeds and epochs ask for the same rows at the same layers again and again. A `Trunks` answers from the trunk
cache; what is not cached is computed by the model for each batch, once per example, and nothing else changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.backbone import Backbone
from pipeline.backbone.trunk import TrunkFolder, TrunkRows
from pipeline.tasks import EncodedSplit, PreparedTask, collate, length_batches
from pipeline.training.world import World

TOKENS_PER_FORWARD = 4096
"""Padded tokens of the widest forward pass without training: enough to keep a processor busy."""
ROWS_PER_FORWARD = 512
"""Rows of one that fills the cache."""


class Trunks:
    """The trunks that one backbone's trainings use.

    Args:
        backbone: frozen, whole or sharded. folder: the cache; None for no cache. max_bytes: of all its files.
    """

    def __init__(self, backbone: Backbone, folder: Path | None = None, max_bytes: int = 0) -> None:
        self.backbone = backbone
        self.cache = TrunkFolder(folder, max_bytes) if folder is not None and max_bytes else None
        self._open: dict[tuple[str, int], TrunkRows] = {}
        self._names: dict[int, tuple[EncodedSplit, str]] = {}  # by identity; the split is kept, so that it lasts
        self.notes: dict[str, str] = {}
        """(task, split) → what became of its trunk, for people."""

    def prepare(self, task: PreparedTask, split: str, layers: Iterable[int], world: World | None = None) -> None:
        """Sees to it that a split is cached at every layer that a prompt begins at, in one pass over its rows.

        Raises:
            InputError: the cache cannot be written.
        """
        wanted = sorted(set(layers) - {0})
        if self.cache is None or not wanted:
            return
        encoded = task.encoded[split]
        lengths, width = encoded.sequence_lengths.astype(np.int64), self.backbone.info.inner
        name, dtype = self._name(encoded), self.backbone.dtype
        paths = [self.cache.path(self.backbone.info.weights, str(dtype), name, layer) for layer in wanted]
        opened = [self.cache.open(path, lengths, width, dtype) for path in paths]
        size = int(lengths.sum()) * width * dtype.itemsize
        note = "found"
        if not all(opened):
            note = "built"
            if not self.cache.build(paths, size, lambda: self._pieces(task, split, wanted, world)):
                self.notes[f"{task.name}/{split}"] = "not cached: larger than trunk.max_bytes"
                return
            opened = [self.cache.open(path, lengths, width, dtype) for path in paths]
        self.notes[f"{task.name}/{split}"] = f"{note}, {size * len(paths)} bytes"
        self._open |= {(name, layer): rows for layer, rows in zip(wanted, opened, strict=True) if rows is not None}

    def take(
        self, task: PreparedTask, split: str, rows: Sequence[int] | NDArray[np.int64], layers: Iterable[int], width: int
    ) -> dict[int, Tensor]:
        """What the cache has of the rows: layer → [their sequences, width, M]."""
        encoded = task.encoded[split]
        name = self._name(encoded) if self._open else ""
        sequences = encoded.sequences_of(rows)
        return {
            layer: self._open[name, layer].take(sequences, width)
            for layer in set(layers)
            if (name, layer) in self._open
        }

    def _pieces(
        self, task: PreparedTask, split: str, layers: Sequence[int], world: World | None
    ) -> Iterator[tuple[list[Tensor], int]]:
        encoded = task.encoded[split]
        lengths = encoded.sequence_lengths.astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        batches = length_batches(lengths, ROWS_PER_FORWARD, tokens=TOKENS_PER_FORWARD)
        for done, indices in enumerate(batches, start=1):
            nobody = [0] * len(indices)
            batch = collate(encoded.take_sequences(indices), prompt=nobody, head=nobody, pad_token_id=task.pad_token_id)
            batch = batch.to(self.backbone.device)
            found = self.backbone.trunk(batch.input_ids, batch.attention_mask, batch.token_type_ids, layers)
            for place, row in enumerate(indices.tolist()):
                yield [found[layer][place, : lengths[row]] for layer in layers], int(starts[row])
            if world is not None:
                note = f"trunk of {split}, layers {', '.join(map(str, layers))}"
                world.event(stage="adapt", task=task.name, done=done, total=len(batches), note=note)

    def _name(self, encoded: EncodedSplit) -> str:
        """The hash of a split's token ids, and of how many of them are read: all that its activations follow from,
        beside the backbone."""
        if id(encoded) not in self._names:
            whole = hashlib.sha256()
            for column in ("input_ids", "token_type_ids", "asked"):
                if column in encoded.rows.column_names:
                    for row in encoded.rows.with_format("numpy")[column]:
                        whole.update(np.asarray(row, dtype=np.int32).tobytes() + b";")
            self._names[id(encoded)] = encoded, whole.hexdigest()
        return self._names[id(encoded)][1]
