"""One raw row to one canonical row, or to the mistake that keeps it from being one; and how many mistakes are told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError, nearest
from pipeline.tasks.readers import RowSource
from pipeline.tasks.spec import TASK_TYPES, TaskSpec

_SHOWN = 10  # mistakes of one task told at once
_PLACES = 5  # rows named for one mistake


@dataclass
class _Alike:
    problem: InputError
    source: RowSource
    numbers: list[int] = field(default_factory=list)
    count: int = 0


class Problems:
    """Collects the mistakes in a task's rows. Those of one kind in one split are told once, with their rows."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Alike] = {}

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def add(self, source: RowSource, number: int, problem: InputError) -> None:
        """One more row with a mistake; `problem` need not say where."""
        alike = self._kinds.setdefault((source.split, problem.what), _Alike(problem, source))
        alike.count += 1
        if len(alike.numbers) < _PLACES:
            alike.numbers.append(number)

    def add_counted(self, source: RowSource, numbers: list[int], count: int, problem: InputError) -> None:
        """A mistake that is known to be in `count` rows, of which `numbers` are the first."""
        self._kinds[source.split, problem.what] = _Alike(problem, source, numbers[:_PLACES], count)

    def in_split(self, split: str) -> bool:
        """Whether rows of `split` have mistakes."""
        return any(where == split for where, _ in self._kinds)

    def told(self) -> list[InputError]:
        """At most ten errors, each with its place."""
        errors = [_tell(alike) for alike in self._kinds.values()]
        if len(errors) > _SHOWN:
            rest = len(errors) - _SHOWN
            errors = [*errors[:_SHOWN], InputError(f"and {rest} more mistakes of other kinds")]
        return errors


def _tell(alike: _Alike) -> InputError:
    problem, source = alike.problem, alike.source
    hints = [problem.hint] if problem.hint else []
    if alike.count > 1:
        others = ", ".join(map(str, alike.numbers[1:]))
        rest = alike.count - len(alike.numbers)
        hints.append(f"also in {source.unit} {others}" + (f" and {rest} more" if rest else ""))
    return InputError(
        problem.what,
        where=source.place(alike.numbers[0]),
        found=problem.found,
        expected=problem.expected,
        nearest=problem.nearest,
        hint="; ".join(hints) or None,
    )


def canonical_row(spec: TaskSpec, raw: Mapping[str, Any]) -> dict[str, Any] | InputError:
    """A raw row under our column names, with answers as text; columns that the task does not use are dropped."""
    kind = TASK_TYPES[spec.type]
    row: dict[str, Any] = {}
    for column in kind.columns:
        theirs = spec.columns.get(column, column)
        if theirs not in raw:
            return _no_column(column, theirs, raw)
        read = _READ[column](theirs, raw[theirs])
        if isinstance(read, InputError):
            return read
        row[column] = read
    if kind.head == "token" and len(row["tokens"]) != len(row["tags"]):
        return InputError("tokens and tags differ in length", found=f"{len(row['tokens'])} and {len(row['tags'])}")
    return row


def _no_column(column: str, theirs: str, raw: Mapping[str, Any]) -> InputError:
    there = list(map(str, raw))
    return InputError(
        f"no column {theirs!r}",
        found=", ".join(there) or "no column at all",
        nearest=nearest(theirs, there),
        hint=f"columns: {{{column}: NAME}} in the task says which column holds it",
    )


def _text(column: str, value: Any) -> str | InputError:
    if not isinstance(value, str):
        return InputError(f"{column!r} is not text", found=repr(value), expected="text")
    if not value.strip():
        return InputError(f"{column!r} is empty", found=repr(value), expected="text")
    return _unicode(column, value)


def _unicode(column: str, value: str) -> str | InputError:
    # JSON can escape half of a surrogate pair, which no UTF-8 file and no tokenizer can hold.
    try:
        value.encode()
    except UnicodeEncodeError:
        return InputError(f"{column!r} holds half a surrogate pair", found=ascii(value), expected="valid Unicode")
    return value


def _label(column: str, value: Any) -> str | InputError:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return InputError(f"{column!r} has no label", found="null" if value is None else repr(value))
    if not isinstance(value, str):
        return InputError(
            f"{column!r} is not a label", found=repr(value), expected="text, a whole number, true or false"
        )
    return _unicode(column, value)


def _list(column: str, value: Any) -> list[Any] | InputError:
    if isinstance(value, str) and value.lstrip().startswith("["):  # a CSV cell holds a list as JSON
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value)
    if not isinstance(value, list):
        return InputError(
            f"{column!r} is not a list", found=repr(value), expected="a list (in CSV, a JSON list in the cell)"
        )
    if not value:
        return InputError(f"{column!r} is empty", expected="at least one word")
    return value


def _words(column: str, value: Any) -> list[str] | InputError:
    words = _list(column, value)
    if isinstance(words, InputError):
        return words
    for position, word in enumerate(words):
        if not isinstance(word, str) or not word:
            found = f"{word!r} at word {position + 1}"
            return InputError(f"{column!r} holds something that is not a word", found=found)
        read = _unicode(column, word)
        if isinstance(read, InputError):
            return read
    return words


def _tags(column: str, value: Any) -> list[str] | InputError:
    tags = _list(column, value)
    if isinstance(tags, InputError):
        return tags
    read = [tag if type(tag) is str and tag.isascii() and tag.strip() else _label(column, tag) for tag in tags]
    for position, tag in enumerate(read):
        if isinstance(tag, InputError):
            return InputError(tag.what, found=f"{tag.found} at word {position + 1}", expected=tag.expected)
    return [tag for tag in read if isinstance(tag, str)]


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "text": _text,
    "text_a": _text,
    "text_b": _text,
    "label": _label,
    "tokens": _words,
    "tags": _tags,
}
