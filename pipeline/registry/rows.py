"""Rows to answer: checked as training rows are, encoded as training rows are, and turned back into answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pipeline.backbone import BackboneInfo
from pipeline.errors import InputError
from pipeline.registry.artifact import Artifact
from pipeline.tasks import TASK_TYPES, DataSource, Task, TaskSpec, decode_answers
from pipeline.tasks.checks import canonical_row
from pipeline.tasks.encode import RowEncoder
from pipeline.tasks.labels import looks_like_bio
from pipeline.tasks.words import split_words_tokenizer

_UNKNOWN = "?"  # stands where training rows have their answer, which rows to be answered lack


class RowReader:
    """Reads the rows of one task and writes their answers.

    Args:
        name: how rows name the task.
        artifact: of the task.
        tokenizer: the backbone's.
        info: the backbone, for its context.
    """

    def __init__(self, name: str, artifact: Artifact, tokenizer: Any, info: BackboneInfo) -> None:
        identity = artifact.manifest.task
        assert identity is not None
        self.name = name
        self.identity = identity
        self.kind = TASK_TYPES[identity.type]
        self.limit = min((n for n in (info.context, identity.max_tokens) if n is not None), default=None)
        self.spec = TaskSpec(name, identity.type, DataSource())
        self.spans = self.kind.head == "token" and looks_like_bio(identity.labels)
        if self.kind.head == "token":
            tokenizer = split_words_tokenizer(tokenizer)
        task = Task(self.spec, identity.labels, identity.metric, self.kind.head, splits={}, fingerprints={})
        self._encode = RowEncoder(task, tokenizer, self.limit)

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any] | InputError:
        """A row under our column names, or its mistake. Other columns of the row are ignored."""
        row: dict[str, Any] = {}
        for column in self.kind.inputs:
            names = (column, self.identity.columns.get(column, column))
            value = next((raw[name] for name in names if raw.get(name) is not None), None)
            if column == "tokens":
                value = _words(value, raw.get("text"))
            if value is None:
                return self._missing(column, raw)
            if isinstance(value, InputError):
                return value
            row[column] = value
        row[self.kind.target] = [_UNKNOWN] * len(row["tokens"]) if self.kind.head == "token" else _UNKNOWN
        return canonical_row(self.spec, row)

    def _missing(self, column: str, raw: Mapping[str, Any]) -> InputError:
        there = [str(name) for name in raw if name != "task"]
        return InputError(
            f"no field {column!r}",
            found=", ".join(there) or "no field",
            expected=", ".join(self.kind.inputs) + (" or text" if self.kind.head == "token" else ""),
        )

    def encode(self, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Canonical rows as `collate` wants them, with `words`: which of the row's words each answer position answers.

        Args:
            rows: at least one.
            numbers: what to call each row when it is refused.

        Raises:
            InputError: a row is longer than the task allows and the task refuses such rows, or gives no token.
        """
        columns = self._encode({name: [row[name] for row in rows] for name in self.kind.columns})
        encoded = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        for row, number in zip(encoded, numbers, strict=True):
            where = f"row {number}, task {self.name!r}"
            full, length = row.pop("full_length"), len(row["input_ids"])
            if full > length and self.identity.too_long == "refuse":
                expected = f"at most {self.limit} tokens"
                raise InputError("the row is longer than allowed", where=where, found=full, expected=expected)
            if not length or not row["answer"]:
                raise InputError("the tokenizer gives no token for the row", where=where)
        return encoded

    def answer(self, row: Mapping[str, Any], encoded: Mapping[str, Any], probabilities: Tensor) -> dict[str, Any]:
        """The answer to one row.

        Args:
            row: canonical. encoded: as `encode` gave it.
            probabilities: [A_row, C], one line per answer position of the row.
        """
        labels, ids = self.identity.labels, probabilities.argmax(-1).tolist()
        if self.kind.head == "cls":
            scores = dict(zip(labels, probabilities[0].tolist(), strict=True))
            return {"task": self.name, "label": labels[ids[0]], "score": scores[labels[ids[0]]], "scores": scores}
        words = row["tokens"]
        tags = decode_answers(labels, self.identity.metric, [ids], [encoded["words"]], [words])[0]
        return {"task": self.name, "tokens": words, "tags": tags, "spans": _spans(words, tags) if self.spans else []}


def _words(tokens: Any, text: Any) -> list[Any] | InputError | None:
    """The words of a row: its tokens, or its text split on whitespace; None where it has neither."""
    if tokens is None:
        if not isinstance(text, str):
            return None if text is None else InputError("'text' is not text", found=repr(text), expected="text")
        return text.split() or InputError("'text' is empty", found=repr(text), expected="text")
    if not isinstance(tokens, list | tuple):
        return InputError("'tokens' is not a list", found=repr(tokens), expected="a list of words, or text")
    return list(tokens)


def _spans(words: list[str], tags: list[str]) -> list[dict[str, Any]]:
    """The spans of BIO tags as seqeval reads them when it scores; `start` and `end` count words, `end` is exclusive."""
    from seqeval.metrics.sequence_labeling import get_entities

    return [
        {"label": label, "start": start, "end": last + 1, "text": " ".join(words[start : last + 1])}
        for label, start, last in get_entities(tags)
    ]
