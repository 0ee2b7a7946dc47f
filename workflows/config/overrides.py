"""`--set key.path=value`: changes to a config from the command line, checked like the file itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import InputError, nearest, raise_all
from workflows.config.yaml_source import Path_, YamlSource, parse


def apply_overrides(source: YamlSource, overrides: Sequence[str]) -> None:
    """Puts each `key.path=value` into the document; a task is named by its index or its name.

    Raises:
        InputErrors: not of this form, a value that is not YAML, a path through something that has no such part. A key
            that no section has is found later, with those of the file.
    """
    problems: list[InputError] = []
    for override in overrides:
        try:
            _apply(source, override)
        except InputError as problem:
            problems.append(problem)
    raise_all(problems)


def _apply(source: YamlSource, override: str) -> None:
    origin = f"--set {override}"
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise InputError("this is not a setting", where=origin, expected="key.path=value, such as adapt.steps=100")
    value = parse(text, origin).data
    here: Any = source.data
    path: Path_ = ()
    for depth, step in enumerate(steps):
        place = _place(here, step, path, origin)
        path = (*path, place)
        if depth == len(steps) - 1:
            here[place] = value
            _forget(source, path)
            source.origins[path] = origin
        elif isinstance(here, dict) and here.get(step) is None:  # absent, or null: a section that was off is on again
            here[step] = {}
            source.origins[path] = origin
        here = here[place]


def _place(here: Any, step: str, path: Path_, origin: str) -> str | int:
    """The key or index that `step` means in the value `here`."""
    if isinstance(here, dict):
        return step
    whole = ".".join(map(str, path))
    if not isinstance(here, list):
        raise InputError(f"{whole} is a single value and has no part {step!r}", where=origin, found=here)
    names = [item.get("name") if isinstance(item, dict) else None for item in here]
    if step in names:
        return names.index(step)
    if step.isdecimal() and int(step) < len(here):
        return int(step)
    named = [name for name in names if isinstance(name, str)]
    choices = f"0 to {len(here) - 1}" + (f", or one of {', '.join(named)}" if named else "")
    raise InputError(
        f"{whole} has no part {step!r}", where=origin, expected=choices if here else None, nearest=nearest(step, named)
    )


def _forget(source: YamlSource, path: Path_) -> None:
    """What stood below a replaced value is gone, and so are its lines."""
    for other in [other for other in source.origins if other[: len(path)] == path]:
        del source.origins[other]
