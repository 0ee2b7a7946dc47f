"""Rows that are padded on the left, as decoders' tokenizers may do it: turned round, run, and turned back.

Then positions are right in every family, whichever way it counts them: from the first column, from the mask, from the
ids, or not at all.
"""

from __future__ import annotations

import torch
from torch import Tensor


def left_padding(attention_mask: Tensor) -> Tensor | None:
    """How many columns stand before each row's first token, [B]; None where that is none in every row."""
    if bool(attention_mask[:, 0].all()):
        return None
    before = attention_mask.int().argmax(1)
    return before if bool(before.any()) else None


def turned(rows: Tensor, by: Tensor) -> Tensor:
    """Rows [B, T, …], each turned to the left by its number of columns [B]; what leaves in front comes in behind."""
    column = turned_columns(rows.shape[1], by)
    return rows.gather(1, column.view(*column.shape, *[1] * (rows.dim() - 2)).expand_as(rows))


def turned_columns(width: int, by: Tensor) -> Tensor:
    """Which column each column of a turned row was, [B, T]."""
    return (torch.arange(width, device=by.device) + by[:, None]) % width


def turned_place(place: Tensor, by: Tensor, width: int) -> Tensor:
    """Places [S] counted over all rows, row · T + column, in the turned rows."""
    row = place // width
    return row * width + (place % width - by[row]) % width


def turned_rows(by: Tensor, ids: Tensor, mask: Tensor, types: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """A batch's token ids, mask and segments, each [B, T], turned."""
    return turned(ids, by), turned(mask, by), None if types is None else turned(types, by)
