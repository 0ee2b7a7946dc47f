"""Rows in their template as token ids: what the tokenizer makes of the filled template as a whole.

A row too long for the model loses tokens of its fields, never of the template. Soft tokens are put in later, by the
prompt that the row runs under; here is noted before which token each of their pieces stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.tasks.encoding.template import Template, parse_template
from pipeline.tasks.encoding.truncate import kept_positions
from pipeline.tasks.scoring.verbalizer import Verbalizer, Words, make_verbalizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Pattern:
    """A template as one tokenizer and one kind of model read it.

    Args:
        template: a decoder's without its mask. verbalizer: of the task; None where a linear head reads.
        tokenizer: a fast one. ends: whether the answer follows at the end, so that no special token may stand there.
        apart: whether it is not read in the row at all but in what a decoder of its own says of it.
    """

    template: Template
    verbalizer: Verbalizer | None
    tokenizer: PreTrainedTokenizerBase
    ends: bool
    apart: bool = False

    @property
    def pooled(self) -> bool:
        """Whether a sequence is answered from its pooled vector: a linear head and no mask to read at."""
        return self.verbalizer is None and not self.template.masked

    @property
    def fixed(self) -> int:
        """Tokens that every row has: the template's, the special ones, those that the longest word adds."""
        blank = dict.fromkeys(self.template.fields, "")
        text, _ = self.template.fill(blank, self._mask)
        return len(self.tokenizer(text)["input_ids"]) + max(map(len, self._added))

    @property
    def _added(self) -> tuple[tuple[int, ...], ...]:
        """Of each sequence of a row the tokens behind the place of its answer."""
        return ((),) if self.verbalizer is None or self.apart else self.verbalizer.added

    @property
    def _mask(self) -> str:
        return self.tokenizer.mask_token or ""

    def encode(self, chunk: Mapping[str, Sequence[Any]], limit: int | None) -> list[list[dict[str, Any]]]:
        """Rows, column by column, as the sequences they are read in; without their gold answers.

        Each sequence has `soft`, before which token each piece of soft tokens stands, and `read`, where the language
        model is read; the first of a row has the row's one answer.
        """
        columns = [chunk[name] for name in self.template.fields]
        rows = [dict(zip(self.template.fields, values, strict=True)) for values in zip(*columns, strict=True)]
        filled = [self.template.fill(row, self._mask) for row in rows]
        encoded = self.tokenizer(
            [text for text, _ in filled],
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        return [self._sequences(encoded, n, ends, limit) for n, (_, ends) in enumerate(filled)]

    def _sequences(self, encoded: Any, index: int, ends: Sequence[int], limit: int | None) -> list[dict[str, Any]]:
        ids = encoded["input_ids"][index]
        pieces = self._pieces(encoded, index, ends)
        count = len(ids)
        while self.ends and count and pieces[count - 1] is None:
            count -= 1
        added, inside = self._added, self.verbalizer is not None and not self.apart
        full = count + max(map(len, added))
        kept = list(range(count))
        if limit is not None and full > limit:
            fields = [n for n, piece in enumerate(self.template.pieces) if piece.kind == "field"]
            owners = [fields.index(piece) if piece in fields else None for piece in pieces[:count]]
            kept = kept_positions(owners, limit - full + count, self.tokenizer.truncation_side)
        soft = self._soft(pieces, kept)
        read = self._read_at(ids, pieces, kept)
        types = encoded["token_type_ids"][index] if "token_type_ids" in encoded else None
        sequences = []
        for n, more in enumerate(added):
            cut = read + 1
            row: dict[str, Any] = {"input_ids": [*(ids[i] for i in kept[:cut]), *more, *(ids[i] for i in kept[cut:])]}
            if types is not None:
                row["token_type_ids"] = [0] * len(row["input_ids"])
            row["soft"] = [at + len(more) if at > read else at for at in soft]
            row["read"] = list(range(read, cut + len(more))) if inside else []
            answer = [0] if self.pooled else [read]
            row |= {"answer": answer if n == 0 else [], "words": [0] if n == 0 else []}
            sequences.append({**row, "full_length": len(row["input_ids"]) + count - len(kept)})
        return sequences

    def _pieces(self, encoded: Any, index: int, ends: Sequence[int]) -> list[int | None]:
        """Of each token the piece that its last letter is in; None for special tokens."""
        pieces: list[int | None] = []
        for (start, stop), owner in zip(encoded["offset_mapping"][index], encoded.sequence_ids(index), strict=True):
            last = max(start, stop - 1)
            pieces.append(None if owner is None else next((n for n, end in enumerate(ends) if last < end), len(ends)))
        return pieces

    def _soft(self, pieces: Sequence[int | None], kept: Sequence[int]) -> list[int]:
        """Before which of the kept tokens each piece of soft tokens stands: the first of what follows it."""
        there = [pieces[i] for i in kept]
        last = max((n for n, piece in enumerate(there) if piece is not None), default=len(there) - 1)
        soft = [n for n, piece in enumerate(self.template.pieces) if piece.kind == "soft"]
        return [next((at for at, one in enumerate(there) if one is not None and one > n), last + 1) for n in soft]

    def _read_at(self, ids: Sequence[int], pieces: Sequence[int | None], kept: Sequence[int]) -> int:
        """Where the answer is read: at the mask, or at the last token of a text that goes on."""
        if self.ends or not self.template.masked:
            return len(kept) - 1
        own = next(n for n, piece in enumerate(self.template.pieces) if piece.kind == "mask")
        at = (n for n, i in enumerate(kept) if pieces[i] == own and ids[i] == self.tokenizer.mask_token_id)
        return next(at)


def make_pattern(
    template: str | None,
    words: Words | None,
    verbal: bool,
    fields: Mapping[str, str],
    labels: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    predicts: str,
    where: str,
) -> Pattern | None:
    """What encodes the rows of a task in its template; None where it has none.

    Args:
        words: see `make_verbalizer`. verbal: whether they answer; else a linear head does. fields: see
            `parse_template`. predicts: what the backbone's language model predicts, see `BackboneInfo`.

    Raises:
        InputError: the template and the kind of model do not fit; see also `parse_template`, `make_verbalizer`.
    """
    if template is None:
        return None
    read, where_words = parse_template(template, fields, where=f"{where}, template"), f"{where}, words"
    masked = predicts == "mask"
    if read.masked and masked and tokenizer.mask_token_id is None:
        raise InputError("{mask} needs a mask token, and the tokenizer has none", where=f"{where}, template")
    if not verbal:
        if read.masked and not masked:
            what = "a linear head reads no mask of a model that was not trained with one"
            hint = "leave {mask} out: the head then reads as the pooling says"
            raise InputError(what, where=f"{where}, template", found=template, hint=hint)
        return Pattern(read, None, tokenizer, ends=False)
    if masked and not read.masked:
        what = "the template has no {mask}, where this backbone would say a label's words"
        raise InputError(what, where=f"{where}, template", found=template, expected="{mask} once")
    apart = predicts == "answer"
    gap, lead = (None, _lead(tokenizer)) if apart else (read.gap, ())
    verbalizer = make_verbalizer(words, labels, tokenizer, masked=masked, gap=gap, lead=lead, where=where_words)
    if not masked:
        read = _at_the_end(read, f"{where}, template", apart)
    return Pattern(read, verbalizer, tokenizer, ends=not masked and not apart, apart=apart)


def _lead(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that a text begins with: an encoder-decoder's answers have them, too (BART)."""
    text = tokenizer("a", return_special_tokens_mask=True)
    first = text["special_tokens_mask"].index(0)
    return list(text["input_ids"][:first])


def _at_the_end(read: Template, where: str, apart: bool) -> Template:
    """A template as a decoder takes it."""
    if read.masked and read.pieces[-1].kind != "mask":
        what = "a decoder says the label's words at the template's end, and this one goes on after its {mask}"
        raise InputError(what, where=where, found=read.text, expected="{mask} at the end, or none")
    opened = read.open_ended()
    if opened.pieces[-1].kind == "soft" and not apart:
        what = "the template ends with soft tokens, and a decoder reads the label's first word at its last word"
        raise InputError(what, where=where, found=read.text, hint="put a word or a field behind them")
    return opened
