"""The engine of the demo suite: templates with slots, filled by a seeded voice.

A template is a sentence with slots: `{device}` is filled from the word list `device`; `<device:product>` likewise, and
the words carry the tag `product`. Within one row a slot name always means the same filler, and `{device2}` means
another one of the same list, so that a row can speak of two things. In a filler `#` stands for any digit and `@` for
any letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

Row = dict[str, object]

_SLOT = re.compile(r"\{(?P<plain>\w+)\}|<(?P<name>\w+):(?P<tag>\w+)>")
_SENTENCE_START = re.compile(r"(^|[.?!] )([a-z])")
# How often dev and test speak a held-out entry where a pool has any.
_HELD_OUT_SHARE = 0.3


@dataclass(frozen=True)
class Pool:
    """Entries of one kind: fillers or templates.

    Train never speaks the `held_out` ones, and the last of them is for test only. So dev, on which choices are made,
    asks for some generalisation too, and test for more of it.
    """

    shared: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def unseen(self, split: str) -> tuple[str, ...]:
        """The entries that a split may speak and train may not."""
        return {"train": (), "dev": self.held_out[:-1], "test": self.held_out}[split]


def pool(text: str) -> Pool:
    """Reads `a | b | c || d | e`: entries between bars, held-out ones after the double bar."""
    shared, _, held_out = text.partition("||")
    return Pool(
        *(tuple(" ".join(entry.split()) for entry in part.split("|") if entry.strip()) for part in (shared, held_out))
    )


def frames(shared: Sequence[str], held_out: Sequence[str] = ()) -> Pool:
    """A pool of templates, which are too long for the bar notation."""
    return Pool(tuple(shared), tuple(held_out))


def union(pools: Sequence[Pool]) -> Pool:
    """All entries of several pools as one."""
    return Pool(
        tuple(entry for part in pools for entry in part.shared),
        tuple(entry for part in pools for entry in part.held_out),
    )


@dataclass(frozen=True)
class Piece:
    """A stretch of a sentence; `tag` is None outside tagged slots."""

    text: str
    tag: str | None = None


class Voice:
    """Fills templates at random; what it said in a row it remembers until the next `begin`.

    Args:
        rng: the only source of randomness.
        words: the word lists by slot name.
        split: train, dev or test: decides which entries may be spoken.
    """

    def __init__(self, rng: Random, words: Mapping[str, Pool], split: str) -> None:
        self.rng = rng
        self._words = words
        self._split = split
        self._said: dict[str, str] = {}

    def begin(self) -> None:
        """Starts a new row: slot names are free again."""
        self._said.clear()

    def pick(self, choices: Pool, avoid: Sequence[str] = ()) -> str:
        """One entry of a pool, not in `avoid`."""
        unseen = choices.unseen(self._split)
        while True:
            entry = self.rng.choice(unseen if unseen and self.rng.random() < _HELD_OUT_SHARE else choices.shared)
            if entry not in avoid:
                return entry

    def other(self, choices: Sequence[str], than: str) -> str:
        """One of `choices` that is not `than`."""
        return self.rng.choice([choice for choice in choices if choice != than])

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.rng.random() < probability

    def word(self, name: str) -> str:
        """The filler of a slot: the one said before in this row, else a new one unlike its siblings (`x`, `x2`)."""
        if name not in self._said:
            kind = name.rstrip("0123456789")
            siblings = [said for key, said in self._said.items() if key.rstrip("0123456789") == kind]
            self._said[name] = self._digits(self.pick(self._words[kind], avoid=siblings))
        return self._said[name]

    def pieces(self, template: str, **given: str) -> list[Piece]:
        """Fills a template; `given` overrides word lists and may itself hold templates."""
        result: list[Piece] = []
        position = 0
        for match in _SLOT.finditer(template):
            result.append(Piece(template[position : match.start()]))
            position = match.end()
            name = match["plain"] or match["name"]
            filler = given[name] if name in given else self.word(name)
            if match["tag"]:
                result.append(Piece(filler, match["tag"]))
            else:
                result.extend(self.pieces(filler, **given))
        result.append(Piece(template[position:]))
        return [piece for piece in result if piece.text]

    def text(self, template: str, **given: str) -> str:
        """Fills a template and writes its sentences with capitals."""
        sentence = "".join(piece.text for piece in self.pieces(template, **given))
        return _SENTENCE_START.sub(lambda start: start[1] + start[2].upper(), sentence)

    def tagged(self, template: str, **given: str) -> tuple[list[str], list[str]]:
        """Fills a template, its punctuation set apart by blanks, and returns its tokens with their BIO tags."""
        tokens: list[str] = []
        tags: list[str] = []
        for piece in self.pieces(template, **given):
            words = piece.text.split()
            tokens += words
            if piece.tag is None:
                tags += ["O"] * len(words)
            else:
                tags += [f"B-{piece.tag}"] + [f"I-{piece.tag}"] * (len(words) - 1)
        return tokens, tags

    def _digits(self, entry: str) -> str:
        if "#" not in entry and "@" not in entry:
            return entry
        drawn = {"#": "123456789", "@": "ABCDEFGHKLMNPRSTUVWXYZ"}
        return "".join(self.rng.choice(drawn[sign]) if sign in drawn else sign for sign in entry)
