"""What an answer reads: the hidden state at its place, or its sequence's pooled vector."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.tasks import HeadBank


def read_vectors(
    heads: HeadBank,
    hidden: Tensor,
    mask: Tensor,
    head: Tensor,
    row: Tensor,
    column: Tensor,
    second: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """What each answer reads: the hidden state at its position, or its sequence's pooled vector.

    Args:
        hidden: [B, T, M]. mask: [B, T]. head: [B]. row, column: [A], the answers' places in the batch.
        second: [B], where the second text of a pair begins; None where no row is a pair.

    Returns:
        [A, M]; and of the S answers to pairs [S, 3M] besides, None where there are none.
    """
    vectors = hidden[row, column]
    for pooling, pool in (("mean", _mean), ("last", _last)):
        pooled = heads.pooled(head, pooling)[row]  # [A] bool, one answer per sequence
        if bool(pooled.any()):
            vectors = vectors.index_copy(0, pooled.nonzero()[:, 0], pool(hidden, mask, row[pooled]))
    if second is None:
        return vectors, None
    pooled = heads.pooled(head, "pair")[row]
    if not bool(pooled.any()):
        return vectors, None
    rows = row[pooled]  # [S]
    behind = torch.arange(mask.shape[1], device=mask.device) >= second[:, None]  # [B, T]
    u, v = _mean(hidden, mask & ~behind, rows), _mean(hidden, mask & behind, rows)  # each [S, M]
    vectors = vectors.index_copy(0, pooled.nonzero()[:, 0], u)
    return vectors, torch.cat([v, (u - v).abs(), u * v], dim=1)


def _mean(hidden: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """The mean over the tokens of some rows [S]: hidden [B, T, M], mask [B, T] → [S, M]; of none it is 0."""
    weight = mask[rows].unsqueeze(1).to(hidden.dtype)  # [S, 1, T]
    whole = hidden if len(rows) == len(hidden) else hidden[rows]
    return torch.bmm(weight, whole).squeeze(1) / weight.sum(2).clamp(min=1)


def _last(hidden: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """The last token of some rows [S]: hidden [B, T, M], mask [B, T] → [S, M]."""
    seen = mask[rows]  # [S, T]
    return hidden[rows, seen.shape[1] - 1 - seen.flip(1).int().argmax(1)]
