"""What an answer reads: the hidden state at its place, or its sequence's pooled vector."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.tasks import HeadBank


def read_vectors(heads: HeadBank, hidden: Tensor, mask: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """What each answer reads: the hidden state at its position, or its sequence's pooled vector.

    Args:
        hidden: [B, T, M]. mask: [B, T]. head: [B]. row, column: [A], the answers' places in the batch.

    Returns:
        [A, M].
    """
    vectors = hidden[row, column]
    for pooling, pool in (("mean", _mean), ("last", _last)):
        pooled = heads.pooled(head, pooling)[row]  # [A] bool, one answer per sequence
        if bool(pooled.any()):
            vectors = vectors.index_copy(0, pooled.nonzero()[:, 0], pool(hidden, mask, row[pooled]))
    return vectors


def _mean(hidden: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """The mean over the tokens of some rows [S]: hidden [B, T, M], mask [B, T] → [S, M]."""
    weight = mask[rows].unsqueeze(1).to(hidden.dtype)  # [S, 1, T]
    whole = hidden if len(rows) == len(hidden) else hidden[rows]
    return torch.bmm(weight, whole).squeeze(1) / weight.sum(2)


def _last(hidden: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """The last token of some rows [S]: hidden [B, T, M], mask [B, T] → [S, M]."""
    seen = mask[rows]  # [S, T]
    return hidden[rows, seen.shape[1] - 1 - seen.flip(1).int().argmax(1)]
