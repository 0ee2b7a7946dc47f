"""What every task type needs to turn texts into token ids: a tokenizer, a limit, and how to cut to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.tasks.encoding.pattern import Pattern
from pipeline.tasks.encoding.truncate import kept_positions

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

_TOKEN_COLUMNS = ("input_ids", "token_type_ids")


@dataclass(frozen=True)
class Encoder:
    """Encodes texts for one task.

    Args:
        tokenizer: a fast one. labels: the task's. limit: tokens of a sequence, special ones included; None for any.
        overlap: tokens that two neighbouring windows of a long text share.
        words: whether texts come as lists of words. pattern: the template that rows are put into; None for none.
        reserved: tokens of the limit that are left for a text which is written on from the row.
        decodes: whether the text is written by a decoder beside what reads the row. end: the token that ends a text.
    """

    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    limit: int | None
    overlap: int = 0
    words: bool = False
    pattern: Pattern | None = None
    reserved: int = 0
    decodes: bool = False
    end: int | None = None

    @property
    def fixed(self) -> int:
        """Tokens of a sequence that are no text of the row's own, where it is one text."""
        return self.tokenizer.num_special_tokens_to_add() if self.pattern is None else self.pattern.fixed

    @property
    def ids(self) -> Mapping[str, int]:
        """Label → class id."""
        return {label: index for index, label in enumerate(self.labels)}

    def tokenize(self, *texts: Sequence[Any], offsets: bool = False) -> BatchEncoding:
        """Whole texts, or pairs of them, uncut."""
        return self.tokenizer(
            *(list(each) for each in texts),
            is_split_into_words=self.words,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_offsets_mapping=offsets,
            verbose=False,
        )

    def plain(self, text: str) -> list[int]:
        """A text's own tokens, whole and without special ones."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        return ids

    @property
    def room(self) -> int | None:
        """Tokens that a row may have, special ones included, before a text is written on from it; None for any."""
        return None if self.limit is None else self.limit - self.reserved

    def kept(self, encoded: BatchEncoding, index: int, beside: int = 0) -> Sequence[int]:
        """The tokens of a row that stay within the limit, where it has `beside` more tokens."""
        length = len(encoded["input_ids"][index])
        room = None if self.room is None else self.room - beside
        if room is None or length <= room:
            return range(length)
        return kept_positions(encoded.sequence_ids(index), room, self.tokenizer.truncation_side)

    def sequence(self, encoded: BatchEncoding, index: int, kept: Sequence[int], full: int | None = None) -> Any:
        """A row cut to `kept`, without its answers; `full` is what its length would have been uncut."""
        whole = {name: encoded[name][index] for name in _TOKEN_COLUMNS if name in encoded}
        row = {name: [values[place] for place in kept] for name, values in whole.items()}
        return {**row, "full_length": len(whole["input_ids"]) if full is None else full}
