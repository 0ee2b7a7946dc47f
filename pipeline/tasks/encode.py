"""From text to token ids, with every answer tied to a position.

A row of a sentence task is a row of a token task with one answer, at position 0; so what follows (batches, heads,
losses) needs no distinction. The answer of a word sits on its first piece.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import datasets
import numpy as np

from pipeline.errors import InputError
from pipeline.tasks.batching import IGNORED
from pipeline.tasks.encoded import EncodedSplit, row_lengths
from pipeline.tasks.load import Task
from pipeline.tasks.spec import TASK_TYPES
from pipeline.tasks.truncate import kept_positions
from pipeline.tasks.words import split_words_tokenizer

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

_TOKEN_COLUMNS = ("input_ids", "token_type_ids")
_VERSION = 1  # part of the cache's names: raise it when the same input encodes differently


def encode_split(
    task: Task, split: str, tokenizer: PreTrainedTokenizerBase, *, context: int | None, cache_dir: Path
) -> EncodedSplit:
    """Tokenises one split of a task, or finds it tokenised in `cache_dir`.

    Args:
        task: as loaded.
        split: "train", "dev" or "test".
        tokenizer: a fast one; it need not have a padding token.
        context: tokens that the backbone takes, special tokens included; None for no limit.
        cache_dir: where the encoded rows are kept, by fingerprint.

    Raises:
        InputError: the tokenizer is not a fast one; the limit leaves no room for text; a row gives no token; rows are
            too long and the task refuses such rows.
    """
    if not tokenizer.is_fast:
        raise InputError("the backbone's tokenizer is not a fast one (tokenizer.json)", where=type(tokenizer).__name__)
    if task.head == "token":
        tokenizer = split_words_tokenizer(tokenizer)
    limit = min((size for size in (context, task.spec.max_tokens) if size is not None), default=None)
    special = tokenizer.num_special_tokens_to_add(pair=task.spec.type == "pair")
    if limit is not None and limit <= special:
        raise InputError(
            "the limit leaves no room for text",
            where=f"task {task.spec.name!r}, max_tokens",
            found=limit,
            expected=f"more than the {special} special tokens",
        )
    rows = _encoded_rows(task, split, tokenizer, limit, cache_dir)
    lengths = row_lengths(rows)
    full = rows.data.column("full_length").to_numpy()
    cut = np.flatnonzero(full > lengths)
    where = f"task {task.spec.name!r}, {split}"
    if len(cut) and task.spec.too_long == "refuse":
        _refuse(where, cut, full, cast(int, limit))
    if not lengths.all():
        empty = int(np.flatnonzero(lengths == 0)[0])
        raise InputError("the tokenizer gives no token for a row", where=f"{where} row {empty + 1}")
    return EncodedSplit(
        task=task.spec.name,
        head=cast(Literal["cls", "token"], task.head),
        num_labels=len(task.labels),
        rows=rows.remove_columns("full_length"),
        lengths=lengths,
        truncated=len(cut),
    )


def _refuse(where: str, cut: np.ndarray[Any, Any], full: np.ndarray[Any, Any], limit: int) -> None:
    shown = ", ".join(f"row {row + 1} ({full[row]} tokens)" for row in cut[:5])
    raise InputError(
        "a row is longer than allowed" if len(cut) == 1 else f"{len(cut)} rows are longer than allowed",
        where=where,
        found=shown + (f" and {len(cut) - 5} more" if len(cut) > 5 else ""),
        expected=f"at most {limit} tokens",
        hint="too_long: truncate in the task cuts them",
    )


def _encoded_rows(
    task: Task, split: str, tokenizer: PreTrainedTokenizerBase, limit: int | None, cache_dir: Path
) -> datasets.Dataset:
    key = _key(task, split, tokenizer, limit)
    folder = cache_dir / "encoded"
    datasets.disable_progress_bars()
    table = task.splits[split]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The key is ours: the library's own would hash the tokenizer object, whose state changes with use.
        return table.map(
            RowEncoder(task, tokenizer, limit),
            batched=True,
            remove_columns=table.column_names,
            features=_features(tokenizer),
            cache_file_name=str(folder / f"{key}.arrow"),
            new_fingerprint=key,
            load_from_cache_file=True,
        )
    except OSError as error:
        raise InputError(f"the cache cannot be written ({error.strerror or error})", where=str(folder)) from error


class RowEncoder:
    """Encodes a chunk of canonical rows; the function that `datasets.Dataset.map` calls."""

    def __init__(self, task: Task, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> None:
        self.kind = TASK_TYPES[task.spec.type]
        self.tokenizer = tokenizer
        self.limit = limit
        self.ids = {label: index for index, label in enumerate(task.labels)}

    def __call__(self, chunk: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = self.tokenizer(
            *(chunk[column] for column in self.kind.inputs),
            is_split_into_words=self.kind.head == "token",
            padding=False,
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )
        golds = chunk[self.kind.target]
        rows = [self._row(encoded, index, gold) for index, gold in enumerate(golds)]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _row(self, encoded: BatchEncoding, index: int, gold: str | list[str]) -> dict[str, Any]:
        row: dict[str, Any] = {name: encoded[name][index] for name in _TOKEN_COLUMNS if name in encoded}
        length = len(row["input_ids"])
        kept: Sequence[int] = range(length)
        if self.limit is not None and length > self.limit:
            kept = kept_positions(encoded.sequence_ids(index), self.limit, self.tokenizer.truncation_side)
            row = {name: [values[place] for place in kept] for name, values in row.items()}
        if isinstance(gold, str):
            row["answer"], row["words"] = [0], [0]
            row["labels"] = [self.ids.get(gold, IGNORED)]
        else:
            word_ids = encoded.word_ids(index)
            row["answer"], row["words"] = _first_pieces([word_ids[place] for place in kept])
            row["labels"] = [self.ids.get(gold[word], IGNORED) for word in row["words"]]
        row["full_length"] = length
        return row


def _first_pieces(word_ids: list[int | None]) -> tuple[list[int], list[int]]:
    """The position of the first piece of each word that has one, and which word it is."""
    first: dict[int, int] = {}
    for position, word in enumerate(word_ids):
        if word is not None:
            first.setdefault(word, position)
    return list(first.values()), list(first)


def _features(tokenizer: PreTrainedTokenizerBase) -> datasets.Features:
    lists = ["input_ids", "answer", "words", "labels"]
    if "token_type_ids" in tokenizer.model_input_names:
        lists.append("token_type_ids")
    columns: dict[str, Any] = {name: datasets.List(datasets.Value("int32")) for name in lists}
    return datasets.Features({**columns, "full_length": datasets.Value("int32")})


def _key(task: Task, split: str, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> str:
    """Names an encoded split by everything that it follows from."""
    parts = [
        _VERSION,
        task.fingerprints[split],
        task.spec.type,
        task.labels,
        limit,
        tokenizer.truncation_side,
        tokenizer.model_input_names,
        _identity(tokenizer),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=8)  # writing a vocabulary out takes longer than encoding a small split
def _identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of all that a tokenizer does."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend.update(truncation=None, padding=None)  # the state of the last call, not of the tokenizer
    return hashlib.sha256(json.dumps(backend, sort_keys=True).encode()).hexdigest()
