"""A text longer than the backbone takes, cut into windows that overlap."""

from __future__ import annotations

from collections.abc import Sequence

OVERLAP = 128
"""Tokens that neighbouring windows share, as in the scripts of BERT (Devlin et al. 2019)."""


def windows(owners: Sequence[int | None], limit: int | None, overlap: int) -> tuple[list[list[int]], int]:
    """The tokens of each window: a slice of the second text, and all the rest of the row.

    Args:
        owners: of each token of a row that holds a pair, the text it comes from (0 or 1), None for special tokens.
        limit: tokens of a window; None for one window of all. It must exceed the number of special tokens.
        overlap: tokens of the second text that neighbouring windows share, at most half of a slice.

    Returns:
        Each window's positions in ascending order, and how many tokens of the first text were cut off: where it takes
        more than half of the room, its end goes.
    """
    if limit is None or len(owners) <= limit:
        return [list(range(len(owners)))], 0
    second = [place for place, owner in enumerate(owners) if owner == 1]
    first = [place for place, owner in enumerate(owners) if owner == 0]
    room = limit - (len(owners) - len(first) - len(second))
    kept = min(len(first), max(room // 2, room - len(second)))
    lost = set(first[kept:])
    rest = [place for place, owner in enumerate(owners) if owner != 1 and place not in lost]
    size = room - kept
    step = max(1, size - min(overlap, size // 2))
    slices = [second[:size]]
    while len(second) > (start := step * len(slices)) + size - step:
        slices.append(second[start : start + size])
    return [sorted([*rest, *piece]) for piece in slices], len(lost)
