"""Where an input prompt stands in a row: in front, after the first token, at the end, or anywhere in a template.

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

from pipeline.errors import InputError, nearest

PLACES = ("front", "after_first", "end")
FIELDS = ("text", "text_a", "text_b", "label")
ANCHORS = ("front", "after_first", "text", "text_b", "after_text", "end")
"""Before which of a row's own tokens a place stands: its first, its second, its text's first, its second text's first,
the one behind its text, or behind all."""
NEVER = len(ANCHORS)
"""The number of the anchor before which nothing stands."""
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
            at = NEVER + 1 + anchor if isinstance(anchor, int) else ANCHORS.index(anchor)
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
