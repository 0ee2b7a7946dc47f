"""How a text is written, token by token."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import InputError


@dataclass(frozen=True)
class Decoding:
    """How texts are written: the settings of transformers' `generate` that a task has.

    Args:
        max_new_tokens: of a text, the token that ends it included; a longer one is broken off.
        beams: 1 takes the likeliest token each time (greedy); more keep so many beginnings and take the best text.
        length_penalty: with beams, a text's log probability is divided by its length to the power of this; more than 0
            favours longer texts.
    """

    max_new_tokens: int = 64
    beams: int = 1
    length_penalty: float = 1.0

    def problems(self, where: str) -> list[InputError]:
        """Every impossible value."""
        found = []
        for name, least in (("max_new_tokens", 1), ("beams", 1)):
            value = getattr(self, name)
            if value < least:
                found.append(InputError(f"decoding.{name} must be at least {least}", where=where, found=value))
        if self.beams == 1 and self.length_penalty != 1.0:
            hint = "say decoding: {beams: 4} or take it away"
            what = "decoding.length_penalty goes with beams: a greedy text has nothing to be compared with"
            found.append(InputError(what, where=where, found=self.length_penalty, hint=hint))
        return found
