"""Rows of unequal length and of different tasks, put into one rectangular batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.padding import left_padding, turned
from pipeline.tasks.encoding.encoded import Example

IGNORED = -100  # the class id of a position that has no (known) answer; torch's cross entropy skips it by default

# Rows are shuffled in pools of this many batches and sorted by length inside a pool: enough to make neighbours alike in
# length, few enough that batches stay random.
_POOL_BATCHES = 32


@dataclass(frozen=True)
class Batch:
    """R sequences padded to T tokens, as a rule on the right, and the B rows in which they stand under their prompts.

    A sequence that runs under several prompts stands in several rows, and what the prompts have in common is computed
    once. Rows that are scored together are a unit: most units are one row, those of choices and of long texts several.

    Args:
        input_ids: [R, T] int64.
        attention_mask: [R, T] bool, True on tokens, False on padding, and on what an encoder-decoder writes and its
            encoder does not read.
        token_type_ids: [R, T] int64, or None where the tokenizer has none.
        answer: [R, T] bool, True where the task answers.
        labels: [R, T] int64, class ids at answer positions, `IGNORED` elsewhere and where the gold label is unseen.
        targets: [R, T, W] float32, gold numbers of tasks whose gold is not a class id, W the most that a position has;
            None where the batch holds no such task.
        example: [B] int64, the sequence of each row.
        prompt: [B] int64, the prompt of the bank that each row runs under.
        head: [B] int64, the head that answers each row.
        unit: [B] int64, ascending, the unit of each row; a unit's rows have one prompt and one head.
        weight: [U] float32, each unit's share of the loss.
        trunk: layer → [R, T, M], the sequences' activations there under no prompt, where they are known.
        read: [R, T] bool, True where the language model is read for rows with a verbalizer; None where there are none.
        soft: [R, S] int64, before which of a row's own tokens each piece of its template's soft tokens stands; None
            where no row is in a template.
        second: [R] int64, at which of its own tokens a pair's second text begins; None where no row is a pair.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor | None
    answer: Tensor
    labels: Tensor
    example: Tensor
    prompt: Tensor
    head: Tensor
    unit: Tensor
    weight: Tensor
    targets: Tensor | None = None
    trunk: Mapping[int, Tensor] = field(default_factory=dict)
    read: Tensor | None = None
    soft: Tensor | None = None
    second: Tensor | None = None

    @property
    def size(self) -> int:
        """B."""
        return int(self.prompt.shape[0])

    def padded_right(self) -> Batch:
        """The same where rows were padded on the left; what `collate` makes is padded on the right and comes back."""
        before = left_padding(self.attention_mask)
        if before is None:
            return self
        names = ("input_ids", "attention_mask", "token_type_ids", "answer", "labels", "targets", "read")
        told = {name: getattr(self, name) for name in names}
        trunk = {layer: turned(states, before) for layer, states in self.trunk.items()}
        moved: dict[str, Any] = {name: None if rows is None else turned(rows, before) for name, rows in told.items()}
        return replace(self, trunk=trunk, **moved)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in moved.items():
            moved[name] = value.to(device) if isinstance(value, Tensor) else value
        moved["trunk"] = {layer: states.to(device) for layer, states in self.trunk.items()}
        return Batch(**moved)


def collate(
    examples: Sequence[Example | Mapping[str, Any]],
    *,
    prompt: Sequence[int],
    head: Sequence[int],
    pad_token_id: int,
    example: Sequence[int] | None = None,
    weight: Sequence[float] | None = None,
) -> Batch:
    """Pads encoded rows (of `EncodedSplit`) to the longest of them.

    Args:
        examples: each a mapping with `input_ids`, `labels`, `answer` and perhaps `token_type_ids` and `targets`, or a
            list of such sequences that are scored together.
        prompt: index into the prompt bank, per unit.
        head: index of the head, per unit.
        pad_token_id: written where an example has ended; masked, so a tokenizer without one may give 0.
        example: which example each of the U units holds; by default every example stands in one unit.
        weight: per unit; 1 each by default.
    """
    if not examples:
        raise ValueError("a batch needs at least one row")
    example = range(len(examples)) if example is None else example
    units = len(example)
    if len(prompt) != units or len(head) != units or (weight is not None and len(weight) != units):
        raise ValueError(f"{units} rows need as many prompt, head and weight entries")
    grouped = [[one] if isinstance(one, Mapping) else one for one in examples]
    counts = np.array([len(group) for group in grouped], dtype=np.int64)
    starts = np.cumsum(counts) - counts
    own = np.asarray(example, dtype=np.int64)
    unit = np.repeat(np.arange(units), counts[own])  # [B]
    rows = np.concatenate([np.arange(starts[e], starts[e] + counts[e]) for e in own])
    return Batch(
        **_padded([sequence for group in grouped for sequence in group], pad_token_id),
        example=torch.from_numpy(rows),
        prompt=torch.tensor(prompt, dtype=torch.int64)[unit],
        head=torch.tensor(head, dtype=torch.int64)[unit],
        unit=torch.from_numpy(unit),
        weight=torch.ones(units) if weight is None else torch.tensor(weight, dtype=torch.float32),
    )


def _padded(sequences: Sequence[Mapping[str, Any]], pad_token_id: int) -> dict[str, Any]:
    """Sequences side by side, [R, T] and [R, T, W]."""
    longest = max(len(one["input_ids"]) for one in sequences)
    shape = (len(sequences), longest)
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.bool_)
    answer = np.zeros(shape, dtype=np.bool_)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    segments = np.zeros(shape, dtype=np.int64) if "token_type_ids" in sequences[0] else None
    widest = max((len(one["targets"]) // len(one["answer"]) for one in sequences if one.get("targets")), default=0)
    targets = np.zeros((*shape, widest), dtype=np.float32) if widest else None
    read = np.zeros(shape, dtype=np.bool_) if any(one.get("read") for one in sequences) else None
    most = max(len(one.get("soft", ())) for one in sequences)
    soft = np.zeros((len(sequences), most), dtype=np.int64) if most else None
    pairs = any(one.get("second") for one in sequences)
    second = np.array([(one.get("second") or [0])[0] for one in sequences], dtype=np.int64) if pairs else None
    for index, one in enumerate(sequences):
        if read is not None and one.get("read"):
            read[index, np.asarray(one["read"], dtype=np.int64)] = True
        if soft is not None and one.get("soft"):
            soft[index, : len(one["soft"])] = one["soft"]
        length = len(one["input_ids"])
        input_ids[index, :length] = one["input_ids"]
        mask[index, :length] = True
        positions = np.asarray(one["answer"], dtype=np.int64)
        answer[index, positions] = True
        labels[index, positions] = one["labels"]
        if segments is not None:
            segments[index, :length] = one["token_type_ids"]
        if one.get("asked"):
            mask[index, one["asked"][0] :] = False
        if targets is not None and one.get("targets"):
            own = np.asarray(one["targets"], dtype=np.float32).reshape(len(positions), -1)
            targets[index, positions, : own.shape[1]] = own
    arrays: dict[str, Any] = {"input_ids": input_ids, "attention_mask": mask, "answer": answer, "labels": labels}
    arrays |= {"token_type_ids": segments, "targets": targets, "read": read, "soft": soft, "second": second}
    return {name: None if array is None else torch.from_numpy(array) for name, array in arrays.items()}


def length_batches(
    lengths: NDArray[np.integer[Any]] | Sequence[int],
    rows_per_batch: int,
    *,
    seed: int | None = None,
    sequences: NDArray[np.integer[Any]] | None = None,
    tokens: int | None = None,
) -> list[NDArray[np.int64]]:
    """Row indices of one pass over a split, cut into batches of rows alike in length.

    Args:
        lengths: tokens of each row, or of its longest sequence.
        rows_per_batch: rows of every batch but perhaps one.
        seed: None sorts the whole split, longest first, so that evaluation meets its memory peak at once; a number
            shuffles rows and batches, the same way for the same seed.
        sequences: how many each row has; one each by default.
        tokens: of the widest batch, padding included; batches then hold fewer rows where those are long. A single row
            may exceed it. Without a seed only.

    Returns:
        Arrays of row indices; together every row exactly once.
    """
    if rows_per_batch < 1:
        raise ValueError("rows_per_batch must be positive")
    sizes = np.asarray(lengths, dtype=np.int64)
    if seed is None:
        order = np.argsort(-sizes, kind="stable")
        if tokens is None:
            return _cut(order, rows_per_batch)
        counts = np.ones_like(sizes) if sequences is None else np.asarray(sequences, dtype=np.int64)
        return _cut_by_tokens(order, sizes, counts, rows_per_batch, tokens)
    random = np.random.default_rng(seed)
    order = random.permutation(len(sizes))
    batches: list[NDArray[np.int64]] = []
    for pool in _cut(order, rows_per_batch * _POOL_BATCHES):
        batches += _cut(pool[np.argsort(-sizes[pool], kind="stable")], rows_per_batch)
    return [batches[index] for index in random.permutation(len(batches))]


def _cut(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _cut_by_tokens(
    order: NDArray[np.int64], sizes: NDArray[np.int64], counts: NDArray[np.int64], rows: int, tokens: int
) -> list[NDArray[np.int64]]:
    batches: list[list[int]] = []
    room = 0  # tokens that the current batch has left; its first row is its longest
    for index in order.tolist():
        needed = int(counts[index] * sizes[batches[-1][0]]) if batches else 0
        if not batches or len(batches[-1]) == rows or needed > room:
            batches.append([])
            room, needed = tokens, int(counts[index] * sizes[index])
        batches[-1].append(index)
        room -= needed
    return [np.array(batch, dtype=np.int64) for batch in batches]
