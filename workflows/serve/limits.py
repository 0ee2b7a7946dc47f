"""What a request may ask for, and how a refusal reads: an HTTP status and our usual error as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError, InputErrors, nearest
from pipeline.registry import Manifest
from pipeline.registry.versions.lookup import CHAMPION
from pipeline.tasks import TASK_TYPES
from pipeline.tasks.data.cells import CHOICES
from workflows.serve.champions import Champions

TOLD = 10  # mistakes told at once


@dataclass(frozen=True)
class Limits:
    """What one replica takes.

    Args:
        rows: of one request. characters: of one row, all its fields together; a question counts once per choice.
        queue: rows that wait or are computed.
        seconds: until a request that has no answer is given up.
    """

    rows: int = 64
    characters: int = 20_000
    queue: int = 1024
    seconds: float = 60.0

    @property
    def body(self) -> int:
        """Bytes of a request: its characters, at most four bytes each, and room for the keys."""
        return self.rows * (4 * self.characters + 1024)


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: HTTP. problems: why; each with its place in the request.
        retry_after: seconds, where trying again makes sense.
    """

    def __init__(self, status: int, *problems: InputError, retry_after: int | None = None) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.status = status
        self.problems = problems
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """`{"errors": [{"what", "where", "found", "expected", "nearest", "hint", "message"}]}`."""
        return {"errors": [_plain(problem) for problem in self.problems]}


def unsound(error: InputError) -> Refusal:
    """422, with every mistake's place."""
    return Refusal(422, *(error.problems if isinstance(error, InputErrors) else [error]))


def check_rows(rows: Sequence[Mapping[str, Any]], champions: Champions, limits: Limits) -> list[dict[str, Any]]:
    """The rows under the names by which the champions know them.

    Raises:
        Refusal: 413 too many or too long, 503 nothing or nothing for this task can answer yet, 404 unknown task.
    """
    if not champions.served:
        why = [f"{name}: {reason}" for name, reason in champions.refused.items()][:1]
        hint = why[0] if why else "promote one: deepprompt registry promote TASK@vN"
        raise Refusal(503, InputError("no champion can answer yet", hint=hint), retry_after=5)
    if len(rows) > limits.rows:
        what = "too many rows in one request"
        raise Refusal(413, InputError(what, where="rows", found=len(rows), expected=f"at most {limits.rows}"))
    long = [_too_long(n, size, limits) for n, row in enumerate(rows) if (size := _characters(row)) > limits.characters]
    if long:
        raise Refusal(413, *_some(long))
    named = [_named(row, champions) for row in rows]
    unknown, unserved, missing = [], [], []
    for n, row in enumerate(named):
        name, where = row.get("task"), f"row {n + 1}"
        if name is None:
            expected = ", ".join(champions.served)
            missing.append(
                InputError("the row names no task", where=f"row {n + 1}", expected=f"task: one of {expected}")
            )
        elif not isinstance(name, str):
            missing.append(InputError("the task is not text", where=where, found=repr(name)))
        elif name in champions.served:
            continue
        elif name in champions.refused:
            unserved.append(InputError(f"{name} cannot be served", where=where, hint=champions.refused[name]))
        else:
            unknown.append(_unknown(name, where, champions))
    for status, problems in ((422, missing), (404, unknown), (503, unserved)):
        if problems:
            raise Refusal(status, *_some(problems), retry_after=30 if status == 503 else None)
    sizes = [_characters(row) + _again(row, champions.served[row["task"]].manifest) for row in named]
    long = [_too_long(n, size, limits) for n, size in enumerate(sizes) if size > limits.characters]
    if long:
        raise Refusal(413, *_some(long))
    return named


def _named(row: Mapping[str, Any], champions: Champions) -> dict[str, Any]:
    name = row.get("task")
    if name is None and len(champions.served) == 1:
        return {**row, "task": next(iter(champions.served))}
    return {**row, "task": name.removesuffix(f"@{CHAMPION}")} if isinstance(name, str) else dict(row)


def _unknown(name: str, where: str, champions: Champions) -> InputError:
    task, at, _ = name.partition("@")
    what = f"task {task!r} has no such alias here" if at and task in champions.served else "unknown task"
    close = nearest(name, champions.served)
    return InputError(what, where=where, found=name, expected=", ".join(champions.served), nearest=close)


def _too_long(n: int, size: int, limits: Limits) -> InputError:
    expected = f"at most {limits.characters} characters"
    return InputError("the row is too long", where=f"row {n + 1}", found=f"{size} characters", expected=expected)


def _characters(row: Mapping[str, Any]) -> int:
    """Of every text in a row, however deeply it is nested."""
    total, left = 0, [value for key, value in row.items() if key != "task"]
    while left:
        value = left.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return total


def _again(row: Mapping[str, Any], manifest: Manifest) -> int:
    """Characters that are read more than once: a question stands before every one of its choices, so that a row of many
    choices costs far more than it is long."""
    identity = manifest.task
    if identity is None or "choices" not in TASK_TYPES[identity.type].inputs:
        return 0
    names = {"choices", identity.columns.get("choices", "choices")}
    question = _characters({key: value for key, value in row.items() if key not in names})
    choices = [CHOICES.read(name, row[name]) for name in names if name in row]
    return question * max((len(one) - 1 for one in choices if isinstance(one, list)), default=0)


def _some(problems: Iterable[InputError]) -> list[InputError]:
    problems = list(problems)
    rest = len(problems) - TOLD
    return [*problems[:TOLD], InputError(f"and {rest} more rows")] if rest > 0 else problems


def _plain(problem: InputError) -> dict[str, Any]:
    parts = ("what", "where", "found", "expected", "nearest", "hint", "message")
    values = {part: getattr(problem, part) for part in parts}
    return {
        part: value if isinstance(value, str) else str(value) for part, value in values.items() if value is not None
    }
