"""Puts input prompts into rows: all rows of a batch at once, each under its own layout, with no loop over rows.

OpenPrompt's loop over rows took 150 times as long as this scatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.prompts.layout import NEVER, Layout, no_mask_token


@dataclass(frozen=True)
class Arranged:
    """B rows of T tokens with their prompts put in, W wide.

    Args:
        input_ids, attention_mask, token_type_ids: [B, W]; where a soft token stands the id means nothing.
        column: [B, T] where each of a row's own tokens went.
        place: [S] where the soft tokens stand, counted over all rows, row · W + column. source: [S] which vector stands
            there, counted over the prompts given.
        read: [B] the column where a sentence's answer is read; -1 where the layout does not say.
        last: [B] the last column of each row. soft: [B] the column of its first soft token, -1 where
            it has none.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor | None
    column: Tensor
    place: Tensor
    source: Tensor
    read: Tensor
    last: Tensor
    soft: Tensor


def arrange(
    input_ids: Tensor,
    attention_mask: Tensor,
    token_type_ids: Tensor | None,
    index: Tensor,
    layouts: Sequence[Layout | None],
    places: Sequence[int],
    special: Tensor,
    pad_token_id: int,
    mask_token_id: int | None,
    soft: Tensor | None = None,
    text: Tensor | None = None,
) -> Arranged:
    """Puts each row's prompt into it.

    Args:
        input_ids, attention_mask, token_type_ids: [B, T], padded on the right.
        index: [B], the prompt of each row. layouts, places: of K prompts; None for one that is not put into rows.
        special: ids of the tokenizer's special tokens. pad_token_id: fills rows up. mask_token_id: stands for `label`.
        soft: [B, S], before which of its tokens each piece of a row's template stands; None where none is in one.
        text: [B], how many of a row's first tokens the layout is about; None for all.

    Raises:
        InputError: a layout has a label and the tokenizer no mask token.
    """
    if mask_token_id is None and any(one is not None and one.label is not None for one in layouts):
        raise no_mask_token()
    device = input_ids.device
    entries = [[] if one is None else one.entries(count) for one, count in zip(layouts, places, strict=True)]
    most = max(map(len, entries))  # Q
    starts = torch.tensor(places).cumsum(0) - torch.tensor(places)  # where each prompt's vectors begin among all
    code = torch.full((len(entries), most), NEVER)
    vector = torch.full((len(entries), most), -1)
    for k, own in enumerate(entries):
        for q, (anchor, place) in enumerate(own):
            code[k, q], vector[k, q] = anchor, int(starts[k]) + place if place >= 0 else -1
    code, vector = code.to(device)[index], vector.to(device)[index]  # [B, Q]
    inserted = code != NEVER
    length = attention_mask.sum(1)  # [B]
    about = attention_mask if text is None else attention_mask & _before(text, input_ids)
    told = _anchors(input_ids, about, special)  # [B, 7]
    anchors = (told if soft is None else torch.cat([told, soft], 1)).gather(1, code)  # [B, Q] ascending
    slot = anchors + torch.arange(most, device=device)  # [B, Q] their columns
    at_token = torch.arange(input_ids.shape[1], device=device).expand_as(input_ids)  # [B, T]
    column = at_token + torch.searchsorted(anchors.contiguous(), at_token.contiguous(), right=True)  # [B, T]
    last = length + inserted.sum(1) - 1
    width = max(input_ids.shape[1], int(last.max()) + 1)
    rows = torch.arange(len(index), device=device)[:, None]

    at = torch.cat([(rows * width + column)[attention_mask], (rows * width + slot)[inserted]])

    def scatter(tokens: Tensor, put: Tensor, padding: int) -> Tensor:
        wide = tokens.new_full((len(index) * width,), padding)
        return wide.index_copy_(0, at, torch.cat([tokens[attention_mask], put[inserted]])).view(-1, width)  # [B, W]

    # Any token but padding does for a soft one: some models count their positions by the tokens that are not padding.
    stand_in = input_ids[:, :1].expand_as(slot)
    if mask_token_id is not None:
        stand_in = stand_in.where(vector >= 0, mask_token_id)
    neighbour = torch.minimum(anchors, length[:, None] - 1)  # a soft token is of the segment that it stands before
    types = None if token_type_ids is None else scatter(token_type_ids, token_type_ids.gather(1, neighbour), 0)
    soft = inserted & (vector >= 0)
    hard = inserted & (vector < 0)
    read = torch.where(hard.any(1), (slot * hard).sum(1), -1)
    return Arranged(
        input_ids=scatter(input_ids, stand_in, pad_token_id),
        attention_mask=torch.arange(width, device=device) <= last[:, None],
        token_type_ids=types,
        column=column.clamp(max=width - 1),
        place=(rows * width + slot)[soft],
        source=vector[soft],
        read=read,
        last=last,
        soft=torch.where(soft.any(1), slot.where(soft, width).amin(1), -1) if most else torch.full_like(last, -1),
    )


def _before(count: Tensor, like: Tensor) -> Tensor:
    """[B, T] the first columns of each row, [B] many."""
    return torch.arange(like.shape[1], device=like.device) < count[:, None]


def _anchors(input_ids: Tensor, attention_mask: Tensor, special: Tensor) -> Tensor:
    """How many of a row's own tokens stand before each of `ANCHORS`, and a number beyond any row, [B, 7]."""
    length = attention_mask.sum(1)
    ordinary = attention_mask & ~torch.isin(input_ids, special)  # [B, T]
    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    some = ordinary.any(1)
    start = torch.where(some, ordinary.int().argmax(1), length)  # of a row of special tokens alone: its end
    stop = torch.where(some, (place * ordinary).amax(1) + 1, length)
    gap = attention_mask & ~ordinary & (place > start[:, None])  # the first special token behind the text ends it
    middle = torch.where(gap.any(1), gap.int().argmax(1), length)
    second = ordinary & (place > middle[:, None])
    second_start = torch.where(second.any(1), second.int().argmax(1), stop)
    zero = torch.zeros_like(length)
    never = torch.full_like(length, torch.iinfo(torch.int32).max)
    return torch.stack([zero, length.clamp(max=1), start, second_start, stop, length, never], dim=1)
