"""Where an input prompt stands in a row: in front, after the first token, at the end, or anywhere in a template.

A `Layout` says it in words; `arrange` works it out for all rows of a batch at once, each under its own layout, with no
loop over rows (OpenPrompt's loop took 150 times as long as the scatter).

    place: front, after_first, end                         prompt tuning (Lester et al. 2021)
    template: "{3} text {2}", "{2} text_a {4} text_b label" P-tuning (Liu et al. 2021)

    pieces:   "{3} {2}"                                    of a template with words, which says where they stand

In a template `{n}` stands for n places; `text` for all text of a row, `text_a` and `text_b` for the texts of a pair;
`label` for the tokenizer's mask token, at which a sentence's answer is then read. Special tokens stay where the
tokenizer puts them. A template is written for one length; at another its pieces keep their shares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.errors import InputError, nearest

PLACES = ("front", "after_first", "end")
FIELDS = ("text", "text_a", "text_b", "label")
ANCHORS = ("front", "after_first", "text", "text_b", "after_text", "end")
"""Before which of a row's own tokens a place stands: its first, its second, its text's first, its second text's first,
the one behind its text, or behind all."""
_NEVER = len(ANCHORS)
_SOFT = re.compile(r"\{([1-9]\d{0,3})\}")


@dataclass(frozen=True)
class Layout:
    """Where the places of an input prompt stand.

    Args:
        anchors: of each piece, one of `ANCHORS`, or its number where the row says where it stands.
        shares: places of each piece at the template's own length.
        label: before which piece the mask token stands, `len(anchors)` after all; None for nowhere.
        label_anchor: where that is. pair: whether it needs rows of two texts.
    """

    anchors: tuple[str | int, ...]
    shares: tuple[int, ...]
    label: int | None = None
    label_anchor: str = "after_text"
    pair: bool = False

    def divide(self, places: int) -> list[int]:
        """The places of each piece when there are `places` in all.

        Place by place to the piece that is furthest behind its share (Webster's method): exact at the template's own
        length, and a shorter prompt never has more of a piece than a longer one.
        """
        counts = [0] * len(self.shares)
        for _ in range(places):
            counts[max(range(len(counts)), key=lambda i: (self.shares[i] / (2 * counts[i] + 1), -i))] += 1
        return counts

    def room(self, context: int, places: int) -> int:
        """Tokens that a row may have beside a prompt of so many places, and the mask token, in a context."""
        return context - places - (self.label is not None)

    def kept(self, places: int, wanted: int) -> list[int]:
        """Which of a prompt's places are left when it is cut to `wanted`: the first ones of each piece."""
        kept: list[int] = []
        start = 0
        for own, less in zip(self.divide(places), self.divide(wanted), strict=True):
            kept += range(start, start + less)
            start += own
        return kept

    def entries(self, places: int) -> list[tuple[int, int]]:
        """What is put into a row, in order: (anchor, place), anchors by number, those that rows tell behind the others;
        place -1 is the mask token."""
        found: list[tuple[int, int]] = []
        place = 0
        for piece, (anchor, count) in enumerate(zip(self.anchors, self.divide(places), strict=True)):
            if piece == self.label:
                found.append((ANCHORS.index(self.label_anchor), -1))
            at = _NEVER + 1 + anchor if isinstance(anchor, int) else ANCHORS.index(anchor)
            found += [(at, place + i) for i in range(count)]
            place += count
        if self.label == len(self.anchors):
            found.append((ANCHORS.index(self.label_anchor), -1))
        return found


@lru_cache(maxsize=256)
def parse_layout(text: str) -> Layout:
    """A layout by the name of a place, or from a template.

    Raises:
        InputError: neither; a template without places, with an unknown word or with its fields in the wrong order.
    """
    if text in PLACES:
        return Layout((text,), (1,))
    words = text.split()
    if len(words) == 1 and not text.startswith("{"):
        raise InputError("unknown place", found=text, expected=", ".join(PLACES), nearest=nearest(text, PLACES))
    if words and all(_SOFT.fullmatch(word) for word in words):
        return Layout(tuple(range(len(words))), tuple(int(word[1:-1]) for word in words))
    fields = [word for word in words if not word.startswith("{")]
    for word in fields:
        if word not in FIELDS:
            expected = "{n} for n soft tokens, " + ", ".join(FIELDS)
            raise InputError(
                "unknown word in the template", found=word, expected=expected, nearest=nearest(word, FIELDS)
            )
    order = [word for word in fields if word != "label"]
    if order not in (["text"], ["text_a", "text_b"]) or fields.count("label") > 1:
        what = "the template's fields do not fit a row"
        raise InputError(what, found=" ".join(fields) or "none", expected="text, or text_a text_b; label at most once")
    return _from_words(words, text)


def _from_words(words: Sequence[str], text: str) -> Layout:
    anchors: list[str] = []
    shares: list[int] = []
    label, label_anchor = None, "after_text"
    for at, word in enumerate(words):
        follows = next((other for other in words[at:] if other in ("text", "text_a", "text_b")), None)
        anchor = {"text": "text", "text_a": "text", "text_b": "text_b", None: "after_text"}[follows]
        if word == "label":
            label, label_anchor = len(anchors), anchor
        elif word.startswith("{"):
            count = _SOFT.fullmatch(word)
            if count is None:
                raise InputError("not a number of soft tokens", found=word, expected="{n}, n a whole number from 1")
            if anchors and anchors[-1] == anchor and label != len(anchors):
                shares[-1] += int(count[1])
            else:
                anchors.append(anchor)
                shares.append(int(count[1]))
    if not anchors:
        raise InputError("the template has no soft tokens", found=text, expected="{n} at least once")
    return Layout(tuple(anchors), tuple(shares), label, label_anchor, pair="text_b" in words)


def no_mask_token() -> InputError:
    """What is said where `label` has nothing to stand for it."""
    hint = "leave label out: a sentence is then read as the backbone's pooling says"
    return InputError("label needs a mask token, and the tokenizer has none", where="prompt.template", hint=hint)


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
    code = torch.full((len(entries), most), _NEVER)
    vector = torch.full((len(entries), most), -1)
    for k, own in enumerate(entries):
        for q, (anchor, place) in enumerate(own):
            code[k, q], vector[k, q] = anchor, int(starts[k]) + place if place >= 0 else -1
    code, vector = code.to(device)[index], vector.to(device)[index]  # [B, Q]
    inserted = code != _NEVER
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
