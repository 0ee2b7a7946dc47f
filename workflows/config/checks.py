"""What must hold between the values of a config: names that exist, choices that exclude each other, good addresses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError, nearest
from workflows.config.settings import Config, TaskSettings
from workflows.config.training import CandidateSettings
from workflows.config.yaml_source import Path_

_CHECKS: list[Callable[[Config], Iterator[Problem]]] = []


@dataclass(frozen=True)
class Problem:
    """A mistake and the path of the value that has it; `load_config` adds the line."""

    path: Path_
    what: str
    found: Any = None
    expected: Any = None
    nearest: str | None = None
    hint: str | None = None


def find_problems(config: Config) -> list[Problem]:
    """Every mistake between the values of a config."""
    return [problem for check in _CHECKS for problem in check(config)]


def _check(function: Callable[[Config], Iterator[Problem]]) -> Callable[[Config], Iterator[Problem]]:
    _CHECKS.append(function)
    return function


@_check
def _task_names(config: Config) -> Iterator[Problem]:
    from pipeline.registry import RESERVED_NAMES

    seen: dict[str, int] = {}
    for index, task in enumerate(config.tasks):
        path = ("tasks", index, "name")
        if task.name in RESERVED_NAMES:
            yield Problem(path, "this name is taken by the shared prompt", task.name, hint="give the task another name")
        if task.name in seen:
            yield Problem(path, f"two tasks have this name (tasks {seen[task.name]} and {index})", task.name)
        seen.setdefault(task.name, index)


@_check
def _tasks_themselves(config: Config) -> Iterator[Problem]:
    from pipeline.tasks.spec import check_spec

    for index, task in enumerate(config.tasks):
        for problem in check_spec(task.spec(config.seed)):
            yield Problem(
                ("tasks", index, *_key_named_in(problem.what)),
                problem.what,
                problem.found,
                problem.expected,
                problem.nearest,
                problem.hint,
            )


def _key_named_in(what: str) -> Path_:
    """The library knows specs, not files; the key that its sentence names leads back to the line."""
    for word in re.findall(r"[a-z_.]+", what):
        key, _, rest = word.partition(".")
        if key in TaskSettings.model_fields:
            return (key, rest) if rest else (key,)
    return ()


@_check
def _chosen_tasks(config: Config) -> Iterator[Problem]:
    names = [task.name for task in config.tasks]
    sections = {"pretrain": config.pretrain, "adapt": config.adapt}
    for key, section in sections.items():
        if section is None or section.tasks == "all":
            continue
        for index, name in enumerate(section.tasks):
            if name not in names:
                close = nearest(name, names)
                yield Problem(
                    (key, "tasks", index), "there is no such task", name, ", ".join(dict.fromkeys(names)), close
                )
        yield from _repeated((key, "tasks"), section.tasks)


@_check
def _own_adaptation(config: Config) -> Iterator[Problem]:
    for index, task in enumerate(config.tasks):
        if task.adapt is not None and task.name not in config.adapt_tasks:
            hint = "add it to adapt.tasks or take this away"
            yield Problem(("tasks", index, "adapt"), "the task is not adapted: adapt.tasks leaves it out", hint=hint)


@_check
def _searches(config: Config) -> Iterator[Problem]:
    for path, settings in _search_sections(config):
        yield from _repeated((*path, "lengths"), settings.lengths)
        yield from _repeated((*path, "learning_rates"), settings.learning_rates)
        if settings.first_layers != "auto":
            yield from _repeated((*path, "first_layers"), settings.first_layers)


@_check
def _depths(config: Config) -> Iterator[Problem]:
    lowest = config.prompt.first_layer
    if config.pretrain is None or lowest == "auto":
        return
    for path, settings in _search_sections(config):
        for place, layer in enumerate(() if settings.first_layers == "auto" else settings.first_layers):
            if layer < int(lowest):
                what = "the shared prompt has no such layer: it begins at prompt.first_layer"
                yield Problem((*path, "first_layers", place), what, layer, f"at least {lowest}")


def _search_sections(config: Config) -> Iterator[tuple[Path_, CandidateSettings]]:
    yield ("adapt",), config.adapt
    for index, task in enumerate(config.tasks):
        if task.adapt is not None:
            yield ("tasks", index, "adapt"), task.adapt


def _repeated(path: Path_, values: Any) -> Iterator[Problem]:
    for value, times in Counter(values).items():
        if times > 1:
            yield Problem(path, f"{value!r} is here {times} times", expected="each value once")


@_check
def _batch(config: Config) -> Iterator[Problem]:
    pretrain = config.pretrain
    if pretrain is not None and pretrain.batch_rows is not None and pretrain.batch_tokens is not None:
        found = f"batch_rows {pretrain.batch_rows} and batch_tokens {pretrain.batch_tokens}"
        yield Problem(
            ("pretrain", "batch_rows"), "the batch is given twice", found, "one of batch_rows and batch_tokens"
        )


@_check
def _registry(config: Config) -> Iterator[Problem]:
    from pipeline.registry import tracking_uri

    try:
        tracking_uri(config.registry.uri)
    except InputError as problem:
        yield Problem(("registry", "uri"), problem.what, problem.found, problem.expected, problem.nearest, problem.hint)
