"""Rows of unequal length and of different tasks, put into one rectangular batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORED = -100  # the class id of a position that has no (known) answer; torch's cross entropy skips it by default

# Rows are shuffled in pools of this many batches and sorted by length inside a pool: enough to make neighbours alike in
# length, few enough that batches stay random.
_POOL_BATCHES = 32


@dataclass(frozen=True)
class Batch:
    """R examples padded on the right to T tokens, and the B rows in which they stand under their prompts.

    An example that runs under several prompts stands in several rows, and what the prompts have in common is computed
    once.

    Args:
        input_ids: [R, T] int64.
        attention_mask: [R, T] bool, True on tokens, False on padding.
        token_type_ids: [R, T] int64, or None where the tokenizer has none.
        answer: [R, T] bool, True where the task answers.
        labels: [R, T] int64, class ids at answer positions, `IGNORED` elsewhere and where the gold label is unseen.
        example: [B] int64, the example of each row.
        prompt: [B] int64, the prompt of the bank that each row runs under.
        head: [B] int64, the head that answers each row.
        weight: [B] float32, each row's share of the loss.
        trunk: layer → [R, T, M], the examples' activations there under no prompt, where they are known.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor | None
    answer: Tensor
    labels: Tensor
    example: Tensor
    prompt: Tensor
    head: Tensor
    weight: Tensor
    trunk: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """B."""
        return int(self.prompt.shape[0])

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in moved.items():
            moved[name] = value.to(device) if isinstance(value, Tensor) else value
        moved["trunk"] = {layer: states.to(device) for layer, states in self.trunk.items()}
        return Batch(**moved)


def collate(
    examples: Sequence[Mapping[str, Any]],
    *,
    prompt: Sequence[int],
    head: Sequence[int],
    pad_token_id: int,
    example: Sequence[int] | None = None,
    weight: Sequence[float] | None = None,
) -> Batch:
    """Pads encoded rows (of `EncodedSplit`) to the longest of them.

    Args:
        examples: R mappings with `input_ids`, `labels`, `answer` and perhaps `token_type_ids`.
        prompt: index into the prompt bank, per row.
        head: index of the head, per row.
        pad_token_id: written where an example has ended; masked, so a tokenizer without one may give 0.
        example: which example each of the B rows holds; by default every example stands in one row.
        weight: per row; 1 each by default.
    """
    if not examples:
        raise ValueError("a batch needs at least one row")
    example = range(len(examples)) if example is None else example
    rows = len(example)
    if len(prompt) != rows or len(head) != rows or (weight is not None and len(weight) != rows):
        raise ValueError(f"{rows} rows need as many prompt, head and weight entries")
    longest = max(len(one["input_ids"]) for one in examples)
    shape = (len(examples), longest)
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.bool_)
    answer = np.zeros(shape, dtype=np.bool_)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    segments = np.zeros(shape, dtype=np.int64) if "token_type_ids" in examples[0] else None
    for index, one in enumerate(examples):
        length = len(one["input_ids"])
        input_ids[index, :length] = one["input_ids"]
        mask[index, :length] = True
        positions = np.asarray(one["answer"], dtype=np.int64)
        answer[index, positions] = True
        labels[index, positions] = one["labels"]
        if segments is not None:
            segments[index, :length] = one["token_type_ids"]
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(mask),
        token_type_ids=None if segments is None else torch.from_numpy(segments),
        answer=torch.from_numpy(answer),
        labels=torch.from_numpy(labels),
        example=torch.tensor(example, dtype=torch.int64),
        prompt=torch.tensor(prompt, dtype=torch.int64),
        head=torch.tensor(head, dtype=torch.int64),
        weight=torch.ones(rows) if weight is None else torch.tensor(weight, dtype=torch.float32),
    )


def length_batches(
    lengths: NDArray[np.integer[Any]] | Sequence[int], rows_per_batch: int, *, seed: int | None = None
) -> list[NDArray[np.int64]]:
    """Row indices of one pass over a split, cut into batches of rows alike in length.

    Args:
        lengths: tokens of each row.
        rows_per_batch: rows of every batch but perhaps one.
        seed: None sorts the whole split, longest first; a number shuffles rows and batches, the same way for the same
            seed.

    Returns:
        Arrays of row indices; together every row exactly once.
    """
    if rows_per_batch < 1:
        raise ValueError("rows_per_batch must be positive")
    sizes = np.asarray(lengths, dtype=np.int64)
    if seed is None:
        return _cut(np.argsort(-sizes, kind="stable"), rows_per_batch)
    random = np.random.default_rng(seed)
    order = random.permutation(len(sizes))
    batches: list[NDArray[np.int64]] = []
    for pool in _cut(order, rows_per_batch * _POOL_BATCHES):
        batches += _cut(pool[np.argsort(-sizes[pool], kind="stable")], rows_per_batch)
    return [batches[index] for index in random.permutation(len(batches))]


def token_batches(
    lengths: NDArray[np.integer[Any]] | Sequence[int], tokens: int, most_rows: int
) -> list[NDArray[np.int64]]:
    """Row indices of one pass over a split without training, the longest rows first: the memory peak comes at once.

    Args:
        lengths: tokens of each row. tokens: padded tokens of the widest batch; a single row may exceed it.
        most_rows: of one batch.

    Returns:
        Arrays of row indices; together every row exactly once.
    """
    if tokens < 1 or most_rows < 1:
        raise ValueError("tokens and most_rows must be positive")
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = min(most_rows, max(1, tokens // max(1, int(sizes[order[start]]))))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def _cut(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
