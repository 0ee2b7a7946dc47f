"""A step's rows, packed into passes through the backbone.

Rows of several tasks, each once per candidate, differ in their tokens, their prompt's length and the layer where they
enter. Put side by side they would be padded to the longest; so they are sorted, and cut into passes of bounded width.
A row's result does not depend on the pass it is in, so this is only a matter of speed and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TOKENS_PER_PASS = {"cpu": 4096, "cuda": 65536}
"""Padded tokens, prompt places included, of the widest pass: enough to keep the processor busy, few enough to bound the
memory that a step's activations take, however many candidates there are."""
SCORES_PER_PASS = 2**27
"""Scores of the widest pass in which each token is scored for the whole vocabulary: half a gigabyte in fp32, of which
training holds a few copies. Of a vocabulary of 50 000 that is 2700 tokens."""


@dataclass(frozen=True)
class Unit:
    """One row of a step: an example under a prompt.

    Args:
        search: the search it belongs to. example: its place among that search's rows of the step. tokens: T of it.
        prompt: its place in the bank. places: P of it. first_layer: where it enters.
        sequences: that the example consists of, `tokens` being those of the longest; they stay together.
    """

    search: int
    example: int
    tokens: int
    prompt: int
    places: int
    first_layer: int
    sequences: int = 1


@dataclass
class Padding:
    """How much of what went through the backbone was padding, in tokens and prompt places."""

    used: int = 0
    whole: int = 0

    def count(self, one: Sequence[Unit]) -> None:
        """Counts a pass."""
        self.used += sum(unit.sequences * (unit.tokens + unit.places) for unit in one)
        self.whole += _height(one) * _widest(one)

    @property
    def fraction(self) -> float:
        """Of all that was computed, the share that nobody asked for."""
        return 1.0 - self.used / self.whole if self.whole else 0.0


def room_for(tokens: int, vocabulary: int) -> int:
    """How many of so many tokens a pass may have.

    Args:
        vocabulary: V where the backbone writes and each token is scored for all of it; 0 where none is.
    """
    return min(tokens, max(1, SCORES_PER_PASS // vocabulary)) if vocabulary else tokens


def pack(units: Sequence[Unit], limit: int) -> list[list[Unit]]:
    """Cuts a step's rows into passes.

    Rows with prompts of one length and depth stand together: such a pass needs no mask for its prompts. A pass is ended
    where the next kind begins once it is half full; a narrower one would not keep the processor busy.

    Args:
        limit: tokens and prompt places of the widest pass, padding included; a single row may exceed it.

    Returns:
        Passes that together hold every unit once.
    """
    order = sorted(units, key=lambda u: (u.first_layer, u.places, -u.tokens, u.search, u.example, u.prompt))
    passes: list[list[Unit]] = []
    current: list[Unit] = []
    rows = tokens = places = 0  # of the current pass: its sequences, and the widest's tokens and places
    for unit in order:
        wider = (rows + unit.sequences) * (max(tokens, unit.tokens) + max(places, unit.places))
        if current:
            other = (unit.first_layer, unit.places) != (current[-1].first_layer, current[-1].places)
            if wider > limit or (other and 2 * rows * (tokens + places) >= limit):
                passes.append(current)
                current, rows, tokens, places = [], 0, 0, 0
        current.append(unit)
        rows += unit.sequences
        tokens, places = max(tokens, unit.tokens), max(places, unit.places)
    passes += [current] if current else []
    # The largest first: the allocator then fits the smaller ones into what the largest left, and memory does not creep.
    return sorted(passes, key=lambda one: -_height(one) * _widest(one))


def _widest(units: Sequence[Unit]) -> int:
    return max(unit.tokens for unit in units) + max(unit.places for unit in units)


def _height(units: Sequence[Unit]) -> int:
    return sum(unit.sequences for unit in units)
