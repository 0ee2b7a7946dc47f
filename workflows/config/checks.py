"""What must hold between the values of a config: names that exist, choices that exclude each other, good addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.errors import InputError, nearest
from workflows.config import prompt_checks  # noqa: F401  # its checks enter the list
from workflows.config.comparing import SHARED, CompareSettings, comparable
from workflows.config.problems import CHECKS, Problem, check, repeated, search_sections
from workflows.config.settings import Config
from workflows.config.tasks import TaskSettings
from workflows.config.yaml_source import Path_


def find_problems(config: Config) -> list[Problem]:
    """Every mistake between the values of a config."""
    return [problem for one in CHECKS for problem in one(config)]


@check
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


@check
def _tasks_themselves(config: Config) -> Iterator[Problem]:
    from pipeline.tasks.spec import check_spec

    told = set()
    for index, task in enumerate(config.tasks):
        for problem in check_spec(task.spec(config.seed, config.prompt)):
            key = _key_named_in(problem.what)
            path: Path_ = ("tasks", index, *key)
            if key in (("template",), ("head",)) and getattr(task, key[0]) in (None, "auto"):
                path = ("prompt", *key)  # it is prompt's, and told once
            what = (problem.what, problem.found, problem.expected, problem.nearest, problem.hint)
            if (path, repr(what)) not in told:
                told.add((path, repr(what)))
                yield Problem(path, *what)


def _key_named_in(what: str) -> Path_:
    """The library knows specs, not files; the key that its sentence names leads back to the line."""
    for word in re.findall(r"[a-z_.]+", what):
        key, _, rest = word.partition(".")
        if key in TaskSettings.model_fields:
            return (key, rest) if rest else (key,)
    return ()


@check
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
        yield from repeated((key, "tasks"), section.tasks)


@check
def _own_adaptation(config: Config) -> Iterator[Problem]:
    for index, task in enumerate(config.tasks):
        if task.adapt is not None and task.name not in config.adapt_tasks:
            hint = "add it to adapt.tasks or take this away"
            yield Problem(("tasks", index, "adapt"), "the task is not adapted: adapt.tasks leaves it out", hint=hint)


@check
def _searches(config: Config) -> Iterator[Problem]:
    for path, settings in search_sections(config):
        for key in ("lengths", "learning_rates", "first_layers"):
            values = getattr(settings, key)
            if values != "auto":
                yield from repeated((*path, key), values)


@check
def _depths(config: Config) -> Iterator[Problem]:
    lowest = config.prompt.first_layer
    if config.pretrain is None or lowest == "auto":
        return
    for path, settings in search_sections(config):
        for place, layer in enumerate(() if settings.first_layers == "auto" else settings.first_layers):
            if layer < int(lowest):
                what = "the shared prompt has no such layer: it begins at prompt.first_layer"
                yield Problem((*path, "first_layers", place), what, layer, f"at least {lowest}")


@check
def _batch(config: Config) -> Iterator[Problem]:
    pretrain = config.pretrain
    if pretrain is not None and pretrain.batch_rows is not None and pretrain.batch_tokens is not None:
        found = f"batch_rows {pretrain.batch_rows} and batch_tokens {pretrain.batch_tokens}"
        yield Problem(
            ("pretrain", "batch_rows"), "the batch is given twice", found, "one of batch_rows and batch_tokens"
        )


@check
def _compared(config: Config) -> Iterator[Problem]:
    compare, known = config.compare, comparable()
    for path, names in ((("compare", "methods"), compare.methods), (("compare",), compare.learning_rates)):
        for place, name in enumerate(names):
            if name not in known:
                at: Path_ = (*path, place) if path[-1] == "methods" else (*path, "learning_rates", name)
                yield Problem(at, "there is no such method", name, ", ".join(known), nearest(name, known))
    yield from repeated(("compare", "methods"), compare.methods)
    for name, rates in compare.learning_rates.items():
        yield from repeated(("compare", "learning_rates", name), rates)
    if compare.steps is not None and compare.seconds is not None:
        found = f"steps {compare.steps} and seconds {compare.seconds:g}"
        yield Problem(("compare", "steps"), "the budget is given twice", found, "one of steps and seconds")
    if "hard" in compare.methods and config.prompt.answering != "verbalizer":
        place, hint = compare.methods.index("hard"), "say prompt: {head: verbalizer, template: …}"
        yield Problem(
            ("compare", "methods", place), "hard prompts answer with words, as all must then", "hard", hint=hint
        )
    if config.prompt.soft is not None and {*compare.methods} - {config.prompt.method, SHARED}:
        hint = "take the soft tokens out of prompt.template, or compare p_tuning alone"
        if config.compare != CompareSettings():
            yield Problem(("compare", "methods"), "rows with places for soft tokens are p_tuning's alone", hint=hint)
    if SHARED in compare.methods and config.pretrain is None:
        place, hint = compare.methods.index(SHARED), "pretrain, or compare without it"
        yield Problem(("compare", "methods", place), "there is no shared prompt: pretrain is null", SHARED, hint=hint)


@check
def _registry(config: Config) -> Iterator[Problem]:
    from pipeline.registry import tracking_uri

    try:
        tracking_uri(config.registry.uri)
    except InputError as problem:
        yield Problem(("registry", "uri"), problem.what, problem.found, problem.expected, problem.nearest, problem.hint)
