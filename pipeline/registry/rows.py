"""Rows to answer: checked as training rows are, encoded as training rows are, and turned back into answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from pipeline.backbone import BackboneInfo
from pipeline.errors import InputError
from pipeline.prompts import parse_layout
from pipeline.registry.artifact import Artifact
from pipeline.registry.manifest import Manifest
from pipeline.tasks import TASK_TYPES, Example, Reading, Task, make_head
from pipeline.tasks.data.checks import canonical_row
from pipeline.tasks.encoding.encode import RowEncoder, make_encoder
from pipeline.tasks.types.base import text_reading


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
        spec = identity.spec(name)
        self.spec = replace(spec, columns={})  # rows to answer may use either name, see `read`
        self.threshold = artifact.manifest.threshold
        self.segments = artifact.manifest.segments == "own"
        task = Task(spec, identity.labels, identity.metric, splits={}, fingerprints={})
        encoder = make_encoder(task, tokenizer, _room(artifact.manifest, info.context), info.predicts)
        self.limit = encoder.limit
        pattern = encoder.pattern
        verbalizer = None if pattern is None else pattern.verbalizer
        pooling = artifact.manifest.pooling if pattern is None or pattern.pooled else None
        self.writing = spec.writing
        head = make_head(identity.type, identity.labels, pooling, verbalizer)
        self.head = replace(head, bent=artifact.manifest.bent)
        self._encode = RowEncoder(self.kind, encoder)

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any] | InputError:
        """A row under our column names, or its mistake. Other columns of the row are ignored."""
        row: dict[str, Any] = {}
        for column in self.kind.inputs:
            names = (column, self.identity.columns.get(column, column))
            value = next((raw[name] for name in names if raw.get(name) is not None), None)
            value = self.kind.asked(column, value, raw)
            if value is None:
                return self._missing(column, raw)
            if isinstance(value, InputError):
                return value
            row[column] = value
        row[self.kind.target[0]] = self.kind.unknown(row)
        return canonical_row(self.spec, row)

    def _missing(self, column: str, raw: Mapping[str, Any]) -> InputError:
        there = [str(name) for name in raw if name != "task"]
        return InputError(
            f"no field {column!r}",
            found=", ".join(there) or "no field",
            expected=", ".join(self.kind.inputs) + (" or text" if self.kind.words else ""),
        )

    def encode(self, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> list[Example]:
        """Canonical rows as `collate` wants them, with what their type marks of each answer.

        Args:
            rows: at least one.
            numbers: what to call each row when it is refused.

        Raises:
            InputError: a row is longer than the task allows and the task refuses such rows, or gives no token.
        """
        columns = self._encode({name: [row[name] for row in rows] for name in self.kind.columns}, range(len(rows)))
        encoded: list[Example] = [[] for _ in rows]
        for values in zip(*columns.values(), strict=True):
            one = dict(zip(columns, values, strict=True))
            place = one.pop("row")
            where = f"row {numbers[place]}, task {self.name!r}"
            full, length = one.pop("full_length"), len(one["input_ids"])
            if full > length and self.identity.too_long == "refuse":
                expected = f"at most {self.limit} tokens"
                raise InputError("the row is longer than allowed", where=where, found=full, expected=expected)
            if not length or not (one["answer"] or encoded[place]):
                raise InputError("the tokenizer gives no token for the row", where=where)
            if not self.segments and "token_type_ids" in one:
                one["token_type_ids"] = [0] * length
            encoded[place].append(one)
        return encoded

    def answer(self, row: Mapping[str, Any], encoded: Example, told: Tensor | str) -> dict[str, Any]:
        """The answer to one row.

        Args:
            row: canonical. encoded: as `encode` gave it.
            told: [A_row, C], probabilities, one line per answer position of the row; or what was written.
        """
        if isinstance(told, str):
            reading = text_reading(told, row)
        else:
            marks = {name: [mark for one in encoded for mark in one[name]] for name in self.kind.marks}
            reading = Reading(told, marks, row)
        answer = self.kind.tell(reading, self.identity.labels, self.identity.metric, self.threshold)
        return {"task": self.name, **answer}


def _room(manifest: Manifest, context: int | None) -> int | None:
    """Tokens of the longest row that fits beside the artifact's prompts, whatever its task allows."""
    if context is None:
        return None
    if manifest.layout is not None:
        return parse_layout(manifest.layout).room(context, max(manifest.lengths))
    return context - max(manifest.lengths) if manifest.positions == "shifted" else context
