"""One raw row to one canonical row, or to the mistake that keeps it from being one; and how many mistakes are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError, nearest
from pipeline.tasks.data.readers import RowSource
from pipeline.tasks.spec import TaskSpec
from pipeline.tasks.types import TASK_TYPES

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
    for column, cell in kind.columns.items():
        theirs = spec.columns.get(column, column)
        if theirs not in raw:
            return _no_column(column, theirs, raw)
        read = cell.read(theirs, raw[theirs])
        if isinstance(read, InputError):
            return read
        row[column] = read
    return kind.check(row) or row


def _no_column(column: str, theirs: str, raw: Mapping[str, Any]) -> InputError:
    there = list(map(str, raw))
    return InputError(
        f"no column {theirs!r}",
        found=", ".join(there) or "no column at all",
        nearest=nearest(theirs, there),
        hint=f"columns: {{{column}: NAME}} in the task says which column holds it",
    )
