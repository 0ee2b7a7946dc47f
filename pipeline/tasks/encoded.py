"""A split as numbers: what training and evaluation read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedSplit:
    """The encoded rows of one split, memory-mapped. A row answers at chosen positions, that of a sentence task at one.

    Args:
        task: the task's name.
        head: "cls" or "token".
        num_labels: classes of the head.
        rows: columns `input_ids`, `token_type_ids` (if the tokenizer has them), `answer` (positions where the row
            answers: 0 for cls, the first piece of each word that is left for token), `labels` (a class id per answer
            position, `IGNORED` where the gold label is unseen) and `words` (which of the row's answers each gives).
        lengths: [rows] tokens of each row, after truncation.
        truncated: how many rows were cut.
    """

    task: str
    head: Literal["cls", "token"]
    num_labels: int
    rows: datasets.Dataset
    lengths: NDArray[np.int32]
    truncated: int

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> list[dict[str, Any]]:
        """Rows by index, in the order asked for, as `collate` wants them."""
        columns = self.rows[np.asarray(indices).tolist()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def save(self, folder: Path) -> None:
        """Writes the split to `folder`, which must not exist."""
        datasets.disable_progress_bars()
        folder.mkdir(parents=True)
        self.rows.save_to_disk(str(folder / "rows"))
        facts = {key: getattr(self, key) for key in ("task", "head", "num_labels", "truncated")}
        (folder / "split.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EncodedSplit:
        """Opens what `save` wrote; the rows stay on disk."""
        rows = datasets.load_from_disk(str(folder / "rows"))
        facts = json.loads((folder / "split.json").read_text(encoding="utf-8"))
        return cls(rows=rows, lengths=row_lengths(rows), **facts)


def row_lengths(rows: datasets.Dataset) -> NDArray[np.int32]:
    """[rows] tokens of each encoded row."""
    counts = pc.list_value_length(rows.data.column("input_ids"))
    return np.asarray(counts.to_numpy(), dtype=np.int32)
