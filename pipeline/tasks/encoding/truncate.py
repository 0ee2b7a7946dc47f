"""Cutting a row that is too long."""

from __future__ import annotations

from collections.abc import Sequence


def kept_positions(sequence_ids: Sequence[int | None], limit: int, side: str = "right") -> list[int]:
    """Which tokens of a row stay when it is cut to `limit`: the special ones; of a pair, the longer text is cut first.

    The row is encoded whole and cut here, instead of encoded once more with the tokenizer's own truncation: the outcome
    is the same, but the tokenizer also builds what it cuts off, for a pair in every combination, which takes minutes on
    long documents.

    Args:
        sequence_ids: of each token, the text it comes from (0 or 1), None for special tokens.
        limit: tokens to keep, special tokens included.
        side: where tokens are cut off, "right" or "left".

    Returns:
        Positions in ascending order, at most `limit`.
    """
    texts = [[place for place, owner in enumerate(sequence_ids) if owner == text] for text in (0, 1)]
    room = limit - (len(sequence_ids) - len(texts[0]) - len(texts[1]))
    # Of two equally long texts the first counts as the shorter.
    shorter, longer = sorted(texts, key=len)
    keep_short = min(len(shorter), room // 2)
    cut = {
        place
        for text, keep in ((shorter, keep_short), (longer, room - keep_short))
        for place in (text[keep:] if side == "right" else text[: max(0, len(text) - keep)])
    }
    return [place for place in range(len(sequence_ids)) if place not in cut]
