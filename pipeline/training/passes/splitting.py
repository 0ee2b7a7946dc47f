"""Rows of unequal length, split into a few passes that compute the least padding.

Side by side in one pass, rows are padded to the longest. Sorted by length and cut, each part is padded to its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

PASS_COST = {"cpu": 128, "cuda": 2048}
"""What it costs to make one pass more, in the tokens that the device gets through in that time."""
MOST_PARTS = 4
"""Passes that rows of unequal length are split into, at most: the fifth saves little."""


class Size(NamedTuple):
    """What a row takes of a pass: its sequences, and each one's tokens and prompt places."""

    sequences: int
    width: int


def parts_worth(rows: Sequence[Size], device: str, most: int, ranks: int = 1) -> int:
    """In how many passes rows go best: padding against what a pass costs, see `PASS_COST`.

    Args:
        rows: of all ranks. device: its type. most: passes. ranks: they share the rows.
    """
    one = PASS_COST.get(device, PASS_COST["cpu"])
    costs = [cost / ranks + one * (k + 1) for k, (cost, _) in enumerate(_splits(rows, max(1, min(most, MOST_PARTS))))]
    return 1 + costs.index(min(costs))


def split(rows: Sequence[Size], parts: int) -> list[list[int]]:
    """Rows in so many passes that these compute the least padding.

    Args:
        parts: at most as many as rows.

    Returns:
        The places of each pass's rows, ascending; every row once, no pass empty.
    """
    _, widths = _splits(rows, parts)[-1]
    found = [
        [n for n, row in enumerate(rows) if low < row.width <= high]
        for high, low in zip(widths, [*widths[1:], 0], strict=True)
    ]
    while len(found) < parts:  # fewer widths than passes: those with the most rows are halved
        longest = max(found, key=len)
        half = len(longest) // 2
        found.remove(longest)
        found += [longest[:half], longest[half:]]
    return found


def _splits(rows: Sequence[Size], most: int) -> list[tuple[int, list[int]]]:
    """The best split into 1, 2, .. `most` passes: what it computes, and each pass's width, descending.

    Fewer than `most` where there are fewer widths. By dynamic programming over the widths.
    """
    heights: dict[int, int] = {}
    for row in rows:
        heights[row.width] = heights.get(row.width, 0) + row.sequences
    widths = sorted(heights, reverse=True)
    ends = np.array([0, *accumulate(heights[width] for width in widths)], dtype=np.float64)
    # one[i, j]: what a pass of the widths i to j - 1 computes, padded to the widest, which is width i
    one = (ends[None, :] - ends[:-1, None]) * np.array(widths)[:, None]
    one[np.arange(len(ends))[None, :] <= np.arange(len(widths))[:, None]] = np.inf
    costs, froms = [one[0]], [np.zeros(len(ends), dtype=np.int64)]
    for _ in range(1, min(most, len(widths))):
        longer = costs[-1][:-1, None] + one
        froms.append(longer.argmin(0))
        costs.append(longer.min(0))
    found = []
    for k, cost in enumerate(costs):
        begins, end = [], len(widths)
        for back in reversed(froms[: k + 1]):
            end = int(back[end])
            begins.append(widths[end])
        found.append((int(cost[-1]), begins[::-1]))
    return found
