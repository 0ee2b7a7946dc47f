"""A task as the stages after `prepare` read it: encoded splits, gold answers and labels, all memory-mapped from one
folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from pipeline.tasks.data.load import Task
from pipeline.tasks.decoding import Decoding
from pipeline.tasks.encoding.encode import encode_split, make_encoder
from pipeline.tasks.encoding.encoded import EncodedSplit, list_lengths
from pipeline.tasks.heads import Head, Pooling
from pipeline.tasks.scoring.scales import Gold
from pipeline.tasks.scoring.verbalizer import Verbalizer
from pipeline.tasks.spec import SPLITS
from pipeline.tasks.types import TASK_TYPES, TaskType

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PreparedTask:
    """A checked and encoded task.

    Args:
        name, type, metric: as in `Task`. labels: what the head's outputs stand for; a class id is a place in it.
        pooling: the task's own; "auto" for the run's.
        pad_token_id: what padding is written with; it is masked.
        encoded: the encoded rows of each split. answers: each split's gold answers in a column `answer`, and the input
            columns that reading answers needs.
        fingerprints: sha256 of the canonical rows, per split.
        rules: how rows were read: columns, max_tokens, too_long, overlap, context, template, head, words, decoding.
        pooled: whether a sequence is read as the pooling says; else where it answers.
        verbalizer: what answers in place of a linear head.
    """

    name: str
    type: str
    labels: tuple[str, ...]
    metric: str
    pooling: str
    pad_token_id: int
    encoded: Mapping[str, EncodedSplit]
    answers: Mapping[str, datasets.Dataset]
    fingerprints: Mapping[str, str]
    rules: Mapping[str, Any]
    pooled: bool = True
    verbalizer: Verbalizer | None = None

    @property
    def kind(self) -> TaskType:
        return TASK_TYPES[self.type]

    @property
    def writing(self) -> Decoding:
        """How the texts of a task that is written are written."""
        return Decoding(**(self.rules["decoding"] or {}))

    def head(self, pooling: str) -> Head:
        """The task's head where the run pools as said."""
        pooling = pooling if self.pooling == "auto" else self.pooling
        pooling = settled_pooling(self.type, pooling, self.rules["template"] is not None)
        return make_head(self.type, self.labels, pooling if self.pooled else None, self.verbalizer)

    def gold(self, split: str) -> list[Any]:
        """The gold answer of each row."""
        return list(self.answers[split]["answer"][:])

    def answers_per_row(self, split: str) -> NDArray[np.int64]:
        """[R] how many answer positions each row has, in all its sequences."""
        encoded = self.encoded[split]
        return np.add.reduceat(list_lengths(encoded.rows, "answer").astype(np.int64), encoded.starts[:-1])

    def marks(self, split: str) -> list[dict[str, list[int]]]:
        """Per row, what its type marks of each answer position: which of the row's answers it gives, and so on."""
        encoded, starts = self.encoded[split], self.encoded[split].starts.tolist()
        columns = {name: list(encoded.rows[name][:]) for name in self.kind.marks}
        return [
            {name: [mark for one in column[start:stop] for mark in one] for name, column in columns.items()}
            for start, stop in pairwise(starts)
        ]

    def shown(self, split: str) -> list[dict[str, Any]]:
        """Per row, its gold answer and the inputs that reading answers needs, under our column names."""
        target = self.kind.target[0]
        rows: list[dict[str, Any]] = self.answers[split].to_list()
        return [{target if name == "answer" else name: value for name, value in row.items()} for row in rows]

    def label_ids(self, split: str) -> NDArray[np.int64]:
        """[A] gold class ids of all answer positions in row order, `IGNORED` where the gold label is unseen."""
        flat = pc.list_flatten(self.encoded[split].rows.data.column("labels"))
        return np.asarray(flat.to_numpy(), dtype=np.int64)

    def right(self, split: str) -> Gold:
        """What is right at all answer positions in row order, as the head's scale takes it."""
        labels = torch.from_numpy(self.label_ids(split))
        if "targets" not in self.kind.extra:
            return Gold(labels)
        flat = pc.list_flatten(self.encoded[split].rows.data.column("targets"))
        return Gold(labels, torch.tensor(flat.to_numpy(), dtype=torch.float32).view(-1, len(self.labels)))

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
            "pooling": self.pooling,
            "pad_token_id": self.pad_token_id,
            "fingerprints": dict(self.fingerprints),
            "rules": dict(self.rules),
            "pooled": self.pooled,
            "verbalizer": None if self.verbalizer is None else self.verbalizer.plain(),
        }
        (folder / "task.json").write_text(json.dumps(plain, ensure_ascii=False, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PreparedTask:
        """Opens what `save` wrote; the rows stay on disk."""
        plain = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        plain["labels"] = tuple(plain["labels"])
        plain["verbalizer"] = None if plain["verbalizer"] is None else Verbalizer.of(plain["verbalizer"])
        return cls(
            encoded={split: EncodedSplit.load(folder / split) for split in SPLITS},
            answers={split: datasets.load_from_disk(str(folder / split / "answers")) for split in SPLITS},
            **plain,
        )


def prepare_task(
    task: Task, tokenizer: PreTrainedTokenizerBase, *, context: int | None, cache_dir: Path, predicts: str = "mask"
) -> PreparedTask:
    """Encodes every split of a loaded task; see `encode_split`.

    Raises:
        InputError: see `encode_split`.
    """
    target, kept = task.kind.target[0], task.kind.kept
    pattern = make_encoder(task, tokenizer, context, predicts).pattern
    where: dict[str, Any] = {"context": context, "cache_dir": cache_dir, "predicts": predicts}
    told = ("max_tokens", "too_long", "overlap", "template", "head", "words", "decoding")
    return PreparedTask(
        name=task.spec.name,
        type=task.spec.type,
        labels=task.labels,
        metric=task.metric,
        pooling=task.spec.pooling,
        pad_token_id=tokenizer.pad_token_id or 0,
        encoded={s: encode_split(task, s, tokenizer, **where) for s in SPLITS},
        answers={s: task.splits[s].select_columns([target, *kept]).rename_column(target, "answer") for s in SPLITS},
        fingerprints=dict(task.fingerprints),
        rules={key: value for key, value in asdict(task.spec).items() if key in told}
        | {"columns": dict(task.spec.columns), "context": context},
        pooled=pattern is None or pattern.pooled,
        verbalizer=None if pattern is None else pattern.verbalizer,
    )


def settled_pooling(type: str, pooling: str, templated: bool) -> str:
    """What a task's rows are really read as: only two texts that stand side by side can be read as a pair."""
    return "mean" if pooling == "pair" and (templated or not TASK_TYPES[type].compared) else pooling


def make_head(type: str, labels: Sequence[str], pooling: str | None, verbalizer: Verbalizer | None = None) -> Head:
    """The head of a task: its shape, what its scores mean, what it reads of a sequence.

    Args:
        pooling: None for a sequence that is read where it answers: in a template with a mask, or by a verbalizer.
    """
    kind = TASK_TYPES[type]
    reads = cast(Pooling, pooling) if kind.pooled and pooling is not None else None
    return Head(len(labels), kind.scale, reads, "targets" in kind.extra, verbalizer, kind.written)
