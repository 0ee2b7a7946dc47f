"""`load_config`: one YAML file, read strictly; every mistake told at once, with its line and what would be right."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.errors import InputError, nearest, raise_all
from workflows.config.checks import find_problems
from workflows.config.overrides import apply_overrides
from workflows.config.problems import Problem
from workflows.config.settings import Config
from workflows.config.yaml_source import Path_, YamlSource, parse, read_text

__all__ = ["Config", "find_config", "load_config", "read_settings", "ready_configs"]

_READY = Path(__file__).parent / "ready"
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "too_short": "at least one",
    "string_too_short": "some text",
    "string_pattern_mismatch": "letters, digits, '_', '-' or '.', beginning with a letter, digit or '_'",
    "literal_error": "{expected}",
    "refused": "{expected}",
}


def ready_configs() -> list[str]:
    """The names of the configs that come with deepprompt."""
    return sorted(path.stem for path in _READY.glob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """The file that a CONFIG argument means: a file, or a ready config by name.

    Raises:
        InputError: neither.
    """
    path = Path(name)
    if path.exists():
        return path
    if str(name) in ready_configs():
        return _READY / f"{name}.yaml"
    beside = [str(path.parent / other.name) for other in path.parent.glob("*.y*ml")]
    raise InputError(
        "there is no such config",
        where="CONFIG",
        found=str(name),
        expected=f"a YAML file, or a ready config: {', '.join(ready_configs()) or 'none'}",
        nearest=nearest(str(name), [*ready_configs(), *beside]),
    )


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The config in a file, after `key.path=value` overrides, with data and backbone folders made absolute.

    Raises:
        InputErrors: everything that is wrong with it.
    """
    source = _read(path, overrides)
    config, problems = _validate(source.data)
    order = {path: place for place, path in enumerate(source.origins)}
    problems.sort(key=lambda problem: order.get(source.known(problem.path), 0))
    raise_all([_told(source, problem) for problem in problems])
    return _with_absolute_folders(config, find_config(path).absolute().parent)


def read_settings(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What a config's file says after the overrides, as plain data that `load_config` has yet to judge."""
    return dict(_read(path, overrides).data)


def _read(path: str | Path, overrides: Sequence[str]) -> YamlSource:
    source = parse(read_text(find_config(path), str(path)), str(path))
    if source.data is None:
        raise InputError("the file is empty", where=source.name, hint="the least it needs is a name and tasks")
    if not isinstance(source.data, dict):
        found = type(source.data).__name__
        raise InputError("the config is not a mapping", where=source.name, found=found, expected="key: value lines")
    apply_overrides(source, overrides)
    return source


def _validate(data: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """The config, and all that is wrong with it, of values alone and between values. To be used when nothing is."""
    try:
        config = Config.model_validate(data)
        return config, find_problems(config)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # Pydantic leaves bad items out and then finds the list too short: only the items are to blame.
    inner = {one["loc"][:-depth] for one in details for depth in range(1, len(one["loc"]))}
    problems = [_translate(data, one) for one in details if one["type"] != "too_short" or one["loc"] not in inner]
    between = [p for p in _between_values(data, problems) if not any(_touch(p.path, one.path) for one in problems)]
    return Config.model_construct(), problems + between


def _between_values(data: Mapping[str, Any], unfit: Sequence[Problem]) -> list[Problem]:
    """What is wrong between the values that do fit, so that mistakes of both kinds are told at once."""
    paths = [problem.path for problem in unfit]
    for _ in range(8):  # taking a piece away may leave its section unfit: then the section goes too
        try:
            return find_problems(Config.model_validate(_without(data, paths)))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                path = tuple(step for step in one["loc"] if step != "[key]")
                paths.append(path[:-1] if one["type"] == "missing" or path in paths else path)
    return []


def _touch(one: Path_, other: Path_) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _without(data: Any, paths: Sequence[Path_], here: Path_ = ()) -> Any:
    if isinstance(data, dict):
        return {key: _without(data[key], paths, (*here, key)) for key in data if (*here, key) not in paths}
    if isinstance(data, list):
        return [_without(item, paths, (*here, i)) for i, item in enumerate(data) if (*here, i) not in paths]
    return data


def _translate(data: Mapping[str, Any], details: Any) -> Problem:
    """A pydantic error in the words of the config."""
    path, kind, context = tuple(details["loc"]), details["type"], details.get("ctx", {})
    path = tuple(step for step in path if step != "[key]")
    found = details["input"]
    if kind == "missing":
        return Problem(path, f"the key {path[-1]!r} is missing", hint=_description(path))
    if kind == "extra_forbidden":
        keys = list(_model_at(path[:-1]).model_fields)
        key = str(path[-1])
        return Problem(path, "unknown key", key, f"one of {', '.join(keys)}", nearest(key, keys))
    expected = _EXPECTED.get(kind, details["msg"]).format(**context)
    choices = [str(choice).strip("',") for choice in str(context.get("expected", "")).replace(" or ", ", ").split(", ")]
    close = nearest(found, choices) if isinstance(found, str) and kind in {"literal_error", "refused"} else None
    what = "this value does not fit" if kind not in _WRONG_TYPE else "this is of the wrong type"
    shown = "null" if found is None else found if isinstance(found, str) and found else repr(found)
    if kind in _WRONG_TYPE and isinstance(found, str):
        shown = f"the text {found!r}"
    return Problem(
        path,
        what,
        shown,
        expected.replace("'", "") if kind == "literal_error" else expected,
        close,
        context.get("hint") or None,
    )


_WRONG_TYPE = {kind for kind in _EXPECTED if kind.endswith("_type")}


def _model_at(path: Path_) -> type[BaseModel]:
    """The section that stands at a path."""
    model: type[BaseModel] = Config
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            model = _section_of(model.model_fields[step].annotation) or model
    return model


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next(filter(None, map(_section_of, typing.get_args(annotation))), None)


def _description(path: Path_) -> str | None:
    field = _model_at(path[:-1]).model_fields.get(str(path[-1]))
    return field.description if field else None


def _told(source: YamlSource, problem: Problem) -> InputError:
    return InputError(
        problem.what,
        where=f"{source.origin(problem.path)}: {_dotted(source, problem.path)}",
        found=problem.found,
        expected=problem.expected,
        nearest=problem.nearest,
        hint=problem.hint,
    )


def _dotted(source: YamlSource, path: Path_) -> str:
    """The path as `--set` takes it: a task goes by its name where it has one of its own."""
    if len(path) > 1 and path[0] == "tasks":
        names = [item.get("name") if isinstance(item, dict) else None for item in source.value(("tasks",))]
        name = names[int(path[1])]
        if isinstance(name, str) and names.count(name) == 1 and path[2:] != ("name",):
            path = ("tasks", name, *path[2:])
    return ".".join(map(str, path))


def _with_absolute_folders(config: Config, base: Path) -> Config:
    """Folders named in a config are relative to it, wherever the command is typed."""
    from pipeline.backbone.source import BUILT_IN
    from pipeline.tasks.data.remote import is_uri

    def absolute(folder: str) -> str:
        return str((base / Path(folder).expanduser()).resolve())

    tasks = tuple(
        task
        if task.data.path is None or is_uri(task.data.path)
        else task.model_copy(update={"data": task.data.model_copy(update={"path": absolute(task.data.path)})})
        for task in config.tasks
    )
    backbone, model = config.backbone, config.backbone.model
    if model not in BUILT_IN and (model.startswith((".", "~")) or (base / model).is_dir()):
        backbone = backbone.model_copy(update={"model": absolute(model)})
    prompt = config.prompt
    if prompt.source is not None:
        prompt = prompt.model_copy(update={"source": absolute(prompt.source)})
    return config.model_copy(update={"tasks": tasks, "backbone": backbone, "prompt": prompt})
