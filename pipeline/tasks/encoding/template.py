"""Templates: what a row says to the model, in words of the user's own around the row's fields.

    "{text} All in all, it was {mask}."            a cloze question (PET, Schick & Schütze 2021, section 3.1)
    "{text_a} ? {mask} , {text_b}"                 of a pair
    "Review: {text} Sentiment:"                    for a decoder, whose answer follows at the end
    "{3} {text} {2} It was {mask}"                 with five soft tokens (P-tuning, Liu et al. 2021)

Words stand for themselves; in braces stand a field of the task by its column's name, under ours or the data's, `mask`,
or a number of soft tokens. `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.errors import InputError, nearest

_BRACED = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Piece:
    """A part of a template: kind "words" with its text, "field" with our column's name, "mask", or "soft" with how many
    tokens."""

    kind: str
    value: str = ""


@dataclass(frozen=True)
class Template:
    """A template that has been read.

    Args:
        pieces: in order. text: as the user wrote it.
    """

    pieces: tuple[Piece, ...]
    text: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns it shows, in order."""
        return tuple(piece.value for piece in self.pieces if piece.kind == "field")

    @property
    def soft(self) -> str | None:
        """Its soft tokens alone, as a prompt's layout names them: "{3} {2}"; None where there are none."""
        counts = [f"{{{piece.value}}}" for piece in self.pieces if piece.kind == "soft"]
        return " ".join(counts) or None

    @property
    def masked(self) -> bool:
        """Whether it has a mask."""
        return any(piece.kind == "mask" for piece in self.pieces)

    @property
    def gap(self) -> str:
        """What stands between the text and the answer's words: a blank, unless the template leaves none."""
        before = [piece for piece in self.before_mask if piece.kind != "soft"]
        touching = self.masked and before and not (before[-1].kind == "words" and before[-1].value[-1].isspace())
        return "" if touching else " "

    @property
    def before_mask(self) -> tuple[Piece, ...]:
        """The pieces before the mask, all where there is none."""
        at = next((n for n, piece in enumerate(self.pieces) if piece.kind == "mask"), len(self.pieces))
        return self.pieces[:at]

    def open_ended(self) -> Template:
        """The template up to its mask, which stands at its end: what a decoder goes on from."""
        return replace(self, pieces=_trimmed(list(self.before_mask)))

    def fill(self, row: Mapping[str, str], mask: str) -> tuple[str, list[int]]:
        """A row's text, and where each piece ends in it. Soft tokens are no text.

        Args:
            row: field → its text. mask: the tokenizer's mask token.
        """
        text, ends = "", []
        for piece in self.pieces:
            text += {"words": piece.value, "field": row.get(piece.value, ""), "mask": mask, "soft": ""}[piece.kind]
            ends.append(len(text))
        return text, ends


def is_worded(text: str) -> bool:
    """Whether a template names something in braces; one that names nothing says where soft tokens stand, no more."""
    return any(found[1] and not found[1].strip().isdigit() for found in _BRACED.finditer(text))


def soft_of(text: str) -> str | None:
    """A template's soft tokens alone, whatever its fields are called; see `Template.soft`."""
    names = {found[1].strip() for found in _BRACED.finditer(text) if found[1]}
    try:
        return parse_template(text, {name: name for name in names if not name.isdigit()}).soft
    except InputError:
        return None  # told where the task's own fields are known


def parse_template(text: str, fields: Mapping[str, str], *, where: str | None = None) -> Template:
    """Reads a template.

    Args:
        fields: the names by which a row's fields may be called → our column.

    Raises:
        InputError: a brace without its other; an unknown name; no field, a field twice, two masks.
    """
    pieces: list[Piece] = []
    names = (*fields, "mask")
    end = 0

    def words(more: str) -> None:
        if pieces and pieces[-1].kind == "words":
            pieces[-1] = Piece("words", pieces[-1].value + more)
        elif more:
            pieces.append(Piece("words", more))

    for found in _BRACED.finditer(text):
        words(text[end : found.start()])
        end = found.end()
        if found[0] in ("{{", "}}"):
            words(found[0][0])
            continue
        if found[1] is None:
            what = "a brace stands alone in the template"
            raise InputError(what, where=where, found=text, hint="write {{ and }} for braces as such")
        name = found[1].strip()
        if name == "mask":
            pieces.append(Piece("mask"))
        elif re.fullmatch(r"[1-9]\d{0,3}", name):
            pieces.append(Piece("soft", name))
        elif name in fields:
            pieces.append(Piece("field", fields[name]))
        else:
            expected = ", ".join(f"{{{one}}}" for one in names) + ", or {n} for n soft tokens"
            what = "unknown field in the template"
            raise InputError(what, where=where, found=found[0], expected=expected, nearest=nearest(name, names))
    words(text[end:])
    template = Template(_trimmed(pieces), text)
    shown = template.fields
    if not shown:
        raise InputError("the template shows no field", where=where, found=text, expected=f"at least one of {names}")
    if len(set(shown)) < len(shown):
        raise InputError("the template shows a field twice", where=where, found=text, expected="each at most once")
    if sum(piece.kind == "mask" for piece in pieces) > 1:
        raise InputError("the template has two masks", where=where, found=text, expected="{mask} at most once")
    return template


def _trimmed(pieces: list[Piece]) -> tuple[Piece, ...]:
    """The pieces without blanks at the ends and none twice where soft tokens, which are no text, stand between them;
    soft tokens side by side are one piece."""
    kept: list[Piece] = []
    for piece in pieces:
        said = next((one for one in reversed(kept) if one.kind != "soft"), None)
        if piece.kind == "words":
            blank = said is None or (kept[-1].kind == "soft" and said.kind == "words" and said.value[-1].isspace())
            piece = Piece("words", piece.value.lstrip() if blank else piece.value)
            if not piece.value:
                continue
        if piece.kind == "soft" and kept and kept[-1].kind == "soft":
            kept[-1] = Piece("soft", str(int(kept[-1].value) + int(piece.value)))
            continue
        kept.append(piece)
    for n in reversed(range(len(kept))):
        if kept[n].kind == "soft":
            continue
        if kept[n].kind == "words":
            stripped = kept[n].value.rstrip()
            kept[n : n + 1] = [Piece("words", stripped)] if stripped else []
        break
    return tuple(kept)
