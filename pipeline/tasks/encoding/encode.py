"""From text to token ids, with every answer tied to a position.

A row of a sentence task is a row of a token task with one answer, at position 0; so what follows (batches, heads,
losses) needs no distinction. How rows are encoded is the task type's; here are the limits and the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import datasets
import numpy as np

from pipeline.errors import InputError
from pipeline.tasks.data.load import Task
from pipeline.tasks.encoding.encoded import EncodedSplit, list_lengths
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.encoding.pattern import make_pattern
from pipeline.tasks.encoding.words import split_words_tokenizer
from pipeline.tasks.types import TaskType

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Numbers: TypeAlias = np.ndarray[Any, Any]
_VERSION = 3  # part of the cache's names: raise it when the same input encodes differently


def encode_split(
    task: Task,
    split: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context: int | None,
    cache_dir: Path,
    predicts: str = "mask",
) -> EncodedSplit:
    """Tokenises one split of a task, or finds it tokenised in `cache_dir`.

    Args:
        task: as loaded.
        split: "train", "dev" or "test".
        tokenizer: a fast one; it need not have a padding token.
        context: tokens that the backbone takes, special tokens included; None for no limit.
        cache_dir: where the encoded rows are kept, by fingerprint.
        predicts: what the backbone's language model predicts; matters for rows in a template.

    Raises:
        InputError: the tokenizer is not a fast one; the limit leaves no room for text; a row gives no token; rows are
            too long and the task refuses such rows.
    """
    if not tokenizer.is_fast:
        raise InputError("the backbone's tokenizer is not a fast one (tokenizer.json)", where=type(tokenizer).__name__)
    encoder = make_encoder(task, tokenizer, context, predicts)
    limit, special = encoder.limit, encoder.tokenizer.num_special_tokens_to_add(pair=task.kind.pair)
    reserved = f" and the {encoder.reserved} of max_new_tokens" if encoder.reserved else ""
    if encoder.pattern is not None:
        special = encoder.pattern.fixed
    if encoder.room is not None and encoder.room <= special:
        raise InputError(
            "the limit leaves no room for text",
            where=f"task {task.spec.name!r}, max_tokens",
            found=limit,
            expected=f"more than the {special} "
            + ("special tokens" if encoder.pattern is None else "of its template")
            + reserved,
        )
    table = _encoded_rows(task, split, encoder, cache_dir)
    owners = np.asarray(table.data.column("row").to_numpy(), dtype=np.int64)
    starts = np.searchsorted(owners, np.arange(len(task.splits[split]) + 1))
    lengths = list_lengths(table, "input_ids")
    full = table.data.column("full_length").to_numpy()
    cut = np.flatnonzero(full > lengths)
    where = f"task {task.spec.name!r}, {split}"
    if len(cut) and task.spec.too_long == "refuse":
        _refuse(where, owners, cut, full, cast(int, limit))
    if task.kind.written and limit is not None:
        # What a decoder of its own writes has the limit to itself, its start token included.
        sizes = list_lengths(table, "answer") if encoder.decodes else lengths
        beyond = np.flatnonzero(sizes > limit)
        if len(beyond):
            _refuse(where, owners, beyond, sizes, limit, "references are never cut: raise max_tokens, or shorten them")
    if not lengths.all():
        empty = int(owners[np.flatnonzero(lengths == 0)[0]])
        raise InputError("the tokenizer gives no token for a row", where=f"{where} row {empty + 1}")
    return EncodedSplit(
        task=task.spec.name,
        rows=table.remove_columns(["row", "full_length"]),
        starts=starts,
        truncated=len(np.unique(owners[cut])),
    )


def make_encoder(
    task: Task, tokenizer: PreTrainedTokenizerBase, context: int | None, predicts: str = "mask"
) -> Encoder:
    """What encodes a task's rows for a backbone that takes `context` tokens.

    Raises:
        InputError: its template or its label words do not fit the tokenizer or the labels; see `make_pattern`.
    """
    spec = task.spec
    limit = min((size for size in (context, task.spec.max_tokens) if size is not None), default=None)
    words = task.kind.words
    tokenizer = split_words_tokenizer(tokenizer) if words else tokenizer
    writing = spec.writing
    if writing is not None:
        decodes = predicts == "answer"
        reserved, end = 0 if decodes else writing.max_new_tokens, end_of_text(tokenizer)
        return Encoder(tokenizer, task.labels, limit, reserved=reserved, decodes=decodes, end=end)
    verbal, where = spec.head == "verbalizer", f"task {spec.name!r}"
    pattern = make_pattern(spec.template, spec.words, verbal, spec.fields, task.labels, tokenizer, predicts, where)
    return Encoder(tokenizer, task.labels, limit, spec.overlap, words, pattern)


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a written text; tokenizers of BERT's kind call it the separator.

    Raises:
        InputError: there is none.
    """
    for end in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if end is not None:
            return int(end)
    what = "the tokenizer has no token that ends a text (eos_token), so nothing can be written"
    raise InputError(what, where=type(tokenizer).__name__)


def _refuse(
    where: str,
    owners: Numbers,
    cut: Numbers,
    full: Numbers,
    limit: int,
    hint: str = "too_long: truncate in the task cuts them",
) -> None:
    longest = {int(owners[place]): int(full[place]) for place in cut}
    shown = ", ".join(f"row {row + 1} ({tokens} tokens)" for row, tokens in list(longest.items())[:5])
    raise InputError(
        "a row is longer than allowed" if len(longest) == 1 else f"{len(longest)} rows are longer than allowed",
        where=where,
        found=shown + (f" and {len(longest) - 5} more" if len(longest) > 5 else ""),
        expected=f"at most {limit} tokens",
        hint=hint,
    )


def _encoded_rows(task: Task, split: str, encoder: Encoder, cache_dir: Path) -> datasets.Dataset:
    key = _key(task, split, encoder)
    folder = cache_dir / "encoded"
    datasets.disable_progress_bars()
    table = task.splits[split]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The key is ours: the library's own would hash the tokenizer object, whose state changes with use.
        return table.map(
            RowEncoder(task.kind, encoder),
            batched=True,
            with_indices=True,
            remove_columns=table.column_names,
            features=_features(task.kind, encoder),
            cache_file_name=str(folder / f"{key}.arrow"),
            new_fingerprint=key,
            load_from_cache_file=True,
        )
    except OSError as error:
        raise InputError(f"the cache cannot be written ({error.strerror or error})", where=str(folder)) from error


class RowEncoder:
    """Encodes a chunk of canonical rows; the function that `datasets.Dataset.map` calls."""

    def __init__(self, kind: TaskType, encoder: Encoder) -> None:
        self.kind = kind
        self.encoder = encoder

    def __call__(self, chunk: dict[str, list[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        rows = self.kind.encode(self.encoder, chunk)
        flat = [{**one, "row": index} for index, row in zip(indices, rows, strict=True) for one in row]
        return {name: [one[name] for one in flat] for name in flat[0]}


def _features(kind: TaskType, encoder: Encoder) -> datasets.Features:
    lists = dict.fromkeys(["input_ids", "answer", "words", "labels"], "int32")
    if encoder.pattern is not None:
        lists |= {"soft": "int32", "read": "int32"}
    elif kind.compared:
        lists["second"] = "int32"
    if "token_type_ids" in encoder.tokenizer.model_input_names:
        lists["token_type_ids"] = "int32"
    columns: dict[str, Any] = {
        name: datasets.List(datasets.Value(of)) for name, of in (lists | dict(kind.extra)).items()
    }
    return datasets.Features({**columns, "full_length": datasets.Value("int32"), "row": datasets.Value("int64")})


def _key(task: Task, split: str, encoder: Encoder) -> str:
    """Names an encoded split by everything that it follows from."""
    tokenizer = encoder.tokenizer
    parts = [
        _VERSION,
        task.fingerprints[split],
        task.spec.type,
        task.labels,
        encoder.limit,
        encoder.overlap if task.kind.windowed else None,
        *([encoder.reserved, encoder.decodes] if task.kind.written else []),
        tokenizer.truncation_side,
        tokenizer.model_input_names,
        _identity(tokenizer),
    ]
    if encoder.pattern is not None:
        verbalizer = encoder.pattern.verbalizer
        parts += [encoder.pattern.template.text, verbalizer.plain() if verbalizer is not None else None]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=8)  # writing a vocabulary out takes longer than encoding a small split
def _identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of all that a tokenizer does."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend.update(truncation=None, padding=None)  # the state of the last call, not of the tokenizer
    return hashlib.sha256(json.dumps(backend, sort_keys=True).encode()).hexdigest()
