"""A tag for every word of a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.tasks.data.cells import TAGS, WORDS
from pipeline.tasks.encoding.batching import IGNORED
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.scoring.scales import CLASSES
from pipeline.tasks.types.base import Encoded, Reading, TaskType
from pipeline.tasks.types.bio import likeliest_bio, looks_like_bio

LOST = ""  # the answer for a word that has none; no label is empty, so it is always a miss


class Token(TaskType):
    """The answer of a word sits on its first piece."""

    name = "token"
    inputs: Mapping[str, Any] = {"tokens": WORDS}
    target = ("tags", TAGS)
    scale = CLASSES
    metrics = ("span_f1", "token_accuracy")
    answered = "tags"
    example: Mapping[str, Any] = {"text": "my phone has not arrived, where is it"}
    pooled = False
    words = True
    combinations = ("mean", "vote")

    def check(self, row: Mapping[str, Any]) -> InputError | None:
        if len(row["tokens"]) != len(row["tags"]):
            return InputError("tokens and tags differ in length", found=f"{len(row['tokens'])} and {len(row['tags'])}")
        return None

    def labels_of(self, answer: Any) -> set[str]:
        return set(answer)

    def metric_for(self, labels: Iterable[str]) -> str:
        """Span F1 if the tags are BIO."""
        return "span_f1" if looks_like_bio(labels) else "token_accuracy"

    def asked(self, column: str, value: Any, raw: Mapping[str, Any]) -> Any:
        """Words, or text that is split on whitespace."""
        if column != "tokens":
            return value
        text = raw.get("text")
        if value is None:
            if not isinstance(text, str):
                return None if text is None else InputError("'text' is not text", found=repr(text), expected="text")
            return text.split() or InputError("'text' is empty", found=repr(text), expected="text")
        if not isinstance(value, list | tuple):
            return InputError("'tokens' is not a list", found=repr(value), expected="a list of words, or text")
        return list(value)

    def unknown(self, row: Mapping[str, Any]) -> list[str]:
        return ["?"] * len(row["tokens"])

    def encode(self, encoder: Encoder, chunk: Mapping[str, Sequence[Any]]) -> list[list[Encoded]]:
        encoded = encoder.tokenize(chunk["tokens"])
        return [self.tagged(encoder, encoded, index, tags, 0) for index, tags in enumerate(chunk["tags"])]

    def tagged(
        self, encoder: Encoder, encoded: Any, index: int, tags: Sequence[str], text: int, ours: Any = None
    ) -> list[Encoded]:
        """A row that answers at its words.

        Args:
            text: which of the row's texts holds the words. ours: word of that text → word of the row, None for none.
        """
        kept = encoder.kept(encoded, index)
        word_ids, owners = encoded.word_ids(index), encoded.sequence_ids(index)
        first: dict[int, int] = {}
        for position, place in enumerate(kept):
            word = word_ids[place] if owners[place] == text else None
            word = word if word is None or ours is None else ours(word)
            if word is not None:
                first.setdefault(word, position)
        labels = [encoder.ids.get(tags[word], IGNORED) for word in first]
        row = encoder.sequence(encoded, index, kept)
        return [{**row, "answer": list(first.values()), "words": list(first), "labels": labels}]

    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> list[str]:
        """As many tags as there are words; where spans count, tags that are BIO. A word that was cut off, or of which
        the tokenizer leaves nothing, gets O where spans count and else what is no tag: a miss either way."""
        spans, words = metric == "span_f1", reading.marks["words"]
        answer = ["O" if spans else LOST] * len(reading.row["tags"])
        if spans:
            joined = [n > 0 and words[n - 1] == word - 1 for n, word in enumerate(words)]
            chosen = likeliest_bio(reading.p.numpy(), labels, joined)
        else:
            chosen = reading.p.argmax(-1).tolist()
        for word, label in zip(words, chosen, strict=True):
            answer[word] = labels[label]
        return answer

    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        words, tags = list(reading.row["tokens"]), self.read(reading, labels, metric, threshold)
        return {"tokens": words, "tags": tags, "spans": _spans(words, tags) if looks_like_bio(labels) else []}


def _spans(words: list[str], tags: list[str]) -> list[dict[str, Any]]:
    """The spans of BIO tags as seqeval reads them when it scores; `start` and `end` count words, `end` is exclusive."""
    from seqeval.metrics.sequence_labeling import get_entities

    return [
        {"label": label, "start": start, "end": last + 1, "text": " ".join(words[start : last + 1])}
        for label, start, last in get_entities(tags)
    ]
