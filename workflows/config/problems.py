"""A mistake between the values of a config, and the list of checks that look for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from workflows.config.settings import Config
from workflows.config.training import CandidateSettings
from workflows.config.yaml_source import Path_

CHECKS: list[Callable[[Config], Iterator[Problem]]] = []


@dataclass(frozen=True)
class Problem:
    """A mistake and the path of the value that has it; `load_config` adds the line."""

    path: Path_
    what: str
    found: Any = None
    expected: Any = None
    nearest: str | None = None
    hint: str | None = None


def check(function: Callable[[Config], Iterator[Problem]]) -> Callable[[Config], Iterator[Problem]]:
    """Puts a function on the list."""
    CHECKS.append(function)
    return function


def search_sections(config: Config) -> Iterator[tuple[Path_, CandidateSettings]]:
    """`adapt` and every task's own, each with its place."""
    yield ("adapt",), config.adapt
    for index, task in enumerate(config.tasks):
        if task.adapt is not None:
            yield ("tasks", index, "adapt"), task.adapt


def repeated(path: Path_, values: Any) -> Iterator[Problem]:
    """A problem for each value that a list names more than once."""
    for value, times in Counter(values).items():
        if times > 1:
            yield Problem(path, f"{value!r} is here {times} times", expected="each value once")
