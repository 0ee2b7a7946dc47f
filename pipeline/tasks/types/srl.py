"""Semantic role labelling: a tag for every word, as seen from one predicate of the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.tasks.data.cells import INDEX
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.types.base import Encoded
from pipeline.tasks.types.token import Token

MARKER = "*"


class SemanticRoles(Token):
    """The predicate stands before the sentence, as a text of its own (Shi & Lin 2019, section 3.2, who put it behind: a
    decoder would not have seen it), and between markers inside it, since a word may occur twice. The markers are
    punctuation, which a frozen backbone knows (Zhou & Chen 2022, "entity marker (punct)")."""

    name = "srl"
    inputs = {**Token.inputs, "predicate": INDEX}
    example = {"text": "my phone has not arrived, where is it", "predicate": 4}

    def check(self, row: Mapping[str, Any]) -> InputError | None:
        words, predicate = len(row["tokens"]), row["predicate"]
        if predicate >= words:
            return InputError(
                "the predicate is not a word of the sentence", found=predicate, expected=f"0 to {words - 1}"
            )
        return super().check(row)

    def encode(self, encoder: Encoder, chunk: Mapping[str, Sequence[Any]]) -> list[list[Encoded]]:
        given = list(zip(chunk["tokens"], chunk["predicate"], strict=True))
        marked = [[*words[:p], MARKER, words[p], MARKER, *words[p + 1 :]] for words, p in given]
        encoded = encoder.tokenize([[words[p]] for words, p in given], marked)
        return [
            self.tagged(encoder, encoded, index, tags, 1, _unmarked(given[index][1]))
            for index, tags in enumerate(chunk["tags"])
        ]


def _unmarked(predicate: int) -> Any:
    """Word of the marked sentence → word of the sentence, None for a marker."""

    def ours(word: int) -> int | None:
        if word < predicate:
            return word
        return {predicate: None, predicate + 1: predicate, predicate + 2: None}.get(word, word - 2)

    return ours
