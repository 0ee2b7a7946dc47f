"""A task as the stages after `prepare` read it: encoded splits, gold answers and labels, all memory-mapped from one
folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.tasks.encode import encode_split
from pipeline.tasks.encoded import EncodedSplit
from pipeline.tasks.load import Task
from pipeline.tasks.spec import SPLITS, TASK_TYPES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PreparedTask:
    """A checked and encoded task.

    Args:
        name, type, metric, head: as in `Task`. labels: a class id is a place in it.
        pad_token_id: what padding is written with; it is masked.
        encoded: the encoded rows of each split. answers: each split's gold answers in one column `answer`.
        fingerprints: sha256 of the canonical rows, per split.
        rules: how rows were read: columns, max_tokens, too_long, context.
    """

    name: str
    type: str
    labels: tuple[str, ...]
    metric: str
    head: str
    pad_token_id: int
    encoded: Mapping[str, EncodedSplit]
    answers: Mapping[str, datasets.Dataset]
    fingerprints: Mapping[str, str]
    rules: Mapping[str, Any]

    def gold(self, split: str) -> list[Any]:
        """A label per row, or a list of tags per row."""
        return list(self.answers[split]["answer"][:])

    def answers_per_row(self, split: str) -> NDArray[np.int64]:
        """[R] how many answer positions each row has."""
        column = self.encoded[split].rows.data.column("answer")
        return np.asarray(pc.list_value_length(column).to_numpy(), dtype=np.int64)

    def words(self, split: str) -> list[list[int]]:
        """Per row, which of its gold answers each answer position gives."""
        return list(self.encoded[split].rows["words"][:])

    def label_ids(self, split: str) -> NDArray[np.int64]:
        """[A] gold class ids of all answer positions in row order, `IGNORED` where the gold label is unseen."""
        flat = pc.list_flatten(self.encoded[split].rows.data.column("labels"))
        return np.asarray(flat.to_numpy(), dtype=np.int64)

    def save(self, folder: Path) -> None:
        """Writes the task to `folder`."""
        for split, encoded in self.encoded.items():
            encoded.save(folder / split)
            self.answers[split].save_to_disk(str(folder / split / "answers"))
        plain = {
            "name": self.name,
            "type": self.type,
            "labels": list(self.labels),
            "metric": self.metric,
            "head": self.head,
            "pad_token_id": self.pad_token_id,
            "fingerprints": dict(self.fingerprints),
            "rules": dict(self.rules),
        }
        (folder / "task.json").write_text(json.dumps(plain, ensure_ascii=False, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PreparedTask:
        """Opens what `save` wrote; the rows stay on disk."""
        plain = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        plain["labels"] = tuple(plain["labels"])
        return cls(
            encoded={split: EncodedSplit.load(folder / split) for split in SPLITS},
            answers={split: datasets.load_from_disk(str(folder / split / "answers")) for split in SPLITS},
            **plain,
        )


def prepare_task(
    task: Task, tokenizer: PreTrainedTokenizerBase, *, context: int | None, cache_dir: Path
) -> PreparedTask:
    """Encodes every split of a loaded task.

    Raises:
        InputError: see `encode_split`.
    """
    target = TASK_TYPES[task.spec.type].target
    return PreparedTask(
        name=task.spec.name,
        type=task.spec.type,
        labels=task.labels,
        metric=task.metric,
        head=task.head,
        pad_token_id=tokenizer.pad_token_id or 0,
        encoded={s: encode_split(task, s, tokenizer, context=context, cache_dir=cache_dir) for s in SPLITS},
        answers={s: task.splits[s].select_columns([target]).rename_column(target, "answer") for s in SPLITS},
        fingerprints=dict(task.fingerprints),
        rules={key: value for key, value in asdict(task.spec).items() if key in ("max_tokens", "too_long")}
        | {"columns": dict(task.spec.columns), "context": context},
    )
