"""A split as numbers: what training and evaluation read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

Example = list[dict[str, Any]]
"""The encoded sequences of one row, which are scored together."""


@dataclass(frozen=True)
class EncodedSplit:
    """The encoded rows of one split, memory-mapped.

    A row is one sequence, or several that are scored together: one per choice of a question, one per window of a long
    text. A sequence answers at chosen positions, that of a sentence task at one.

    Args:
        task: the task's name.
        rows: an entry per sequence, row after row: `input_ids`, `token_type_ids` (if the tokenizer has them), `answer`
            (positions where it answers), `labels` (a class id per answer, `IGNORED` where the gold label is unseen),
            `words` (which of the row's answers each gives) and what the task's type adds.
        starts: [R + 1], row r's sequences are `starts[r]:starts[r + 1]`.
        truncated: how many rows were cut.
    """

    task: str
    rows: datasets.Dataset
    starts: NDArray[np.int64]
    truncated: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def sequence_lengths(self) -> NDArray[np.int32]:
        """[S] tokens of each sequence, after truncation."""
        return list_lengths(self.rows, "input_ids")

    @cached_property
    def sequences(self) -> NDArray[np.int64]:
        """[R] how many sequences each row has."""
        return np.diff(self.starts)

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """[R] tokens of each row's longest sequence."""
        return np.maximum.reduceat(self.sequence_lengths, self.starts[:-1])

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """[R] tokens of each row, all its sequences together."""
        return np.add.reduceat(self.sequence_lengths.astype(np.int64), self.starts[:-1])

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> list[Example]:
        """Rows by index, in the order asked for, as `collate` wants them."""
        counts = self.sequences[np.asarray(rows, dtype=np.int64)]
        flat = iter(self.take_sequences(self.sequences_of(rows)))
        return [[next(flat) for _ in range(count)] for count in counts.tolist()]

    def sequences_of(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The sequences of some rows, row after row."""
        chosen = np.asarray(rows, dtype=np.int64)
        if len(self) == len(self.rows):
            return chosen
        return np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in chosen])

    def take_sequences(self, sequences: NDArray[np.integer[Any]]) -> list[dict[str, Any]]:
        """Sequences by index, in the order asked for."""
        columns = self.rows[sequences.tolist()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def save(self, folder: Path) -> None:
        """Writes the split to `folder`, which must not exist."""
        datasets.disable_progress_bars()
        folder.mkdir(parents=True)
        self.rows.save_to_disk(str(folder / "rows"))
        np.save(folder / "starts.npy", self.starts, allow_pickle=False)
        facts = {"task": self.task, "truncated": self.truncated}
        (folder / "split.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EncodedSplit:
        """Opens what `save` wrote; the rows stay on disk."""
        facts = json.loads((folder / "split.json").read_text(encoding="utf-8"))
        starts = np.load(folder / "starts.npy", allow_pickle=False)
        return cls(rows=datasets.load_from_disk(str(folder / "rows")), starts=starts, **facts)


def list_lengths(rows: datasets.Dataset, column: str) -> NDArray[np.int32]:
    """The lengths of a column's lists."""
    return np.asarray(pc.list_value_length(rows.data.column(column)).to_numpy(), dtype=np.int32)
