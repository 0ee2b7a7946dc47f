"""What must hold between the values of a config: names that exist, choices that exclude each other, good addresses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError, nearest
from workflows.config.comparing import SHARED, CompareSettings, comparable
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
def _prompts(config: Config) -> Iterator[Problem]:
    """The choices of a method that fit it, each by itself."""
    from pipeline.prompts import METHODS, parse_layout
    from pipeline.tasks import TASK_TYPES

    prompt, method = config.prompt, METHODS[config.prompt.method]
    if prompt.encoder not in ("auto", *method.encoders):
        what = f"the method {prompt.method} has no such encoder"
        yield Problem(("prompt", "encoder"), what, prompt.encoder, ", ".join(("auto", *method.encoders)))
    if prompt.deep and prompt.place is not None:
        hint = "place goes with prompt_tuning and p_tuning"
        yield Problem(("prompt", "place"), f"{prompt.method} prompts stand in the layers", prompt.place, hint=hint)
    if prompt.worded is not None:
        yield from _worded(config)
    elif prompt.template is not None and not method.template:
        what = f"{prompt.method} prompts stand in no template"
        yield Problem(
            ("prompt", "template"), what, prompt.template, hint="a template of soft tokens goes with p_tuning"
        )
    elif prompt.template is not None:
        if prompt.place is not None:
            yield Problem(("prompt", "place"), "a template says already where the prompt stands", prompt.place)
        try:
            pair = parse_layout(prompt.template).pair
        except InputError as told:
            yield Problem(("prompt", "template"), told.what, told.found, told.expected, told.nearest, told.hint)
        else:
            for index, task in enumerate(config.tasks):
                kind = TASK_TYPES.get(task.type)  # an unknown one is told elsewhere
                if pair and kind is not None and not kind.pair:
                    what = "the prompt's template has text_a and text_b, this task one text"
                    expected = ", ".join(name for name, kind in TASK_TYPES.items() if kind.pair)
                    yield Problem(
                        ("tasks", index, "type"), what, task.type, expected, hint="write text in the template"
                    )
    for init, key in (("text", "text"), ("prompt", "source")):
        given = getattr(prompt, key)
        if prompt.init == init and given is None:
            yield Problem(("prompt", "init"), f"init: {init} needs prompt.{key}", hint=f"say {key}: …")
        if prompt.init != init and given is not None:
            yield Problem(("prompt", key), f"{key} goes with init: {init}", given)


def _worded(config: Config) -> Iterator[Problem]:
    """A template of words and what else the prompt says."""
    prompt = config.prompt
    if prompt.soft is not None and prompt.method != "p_tuning":
        yield Problem(("prompt", "template"), "soft tokens in a template go with p_tuning", prompt.method, "p_tuning")
    elif prompt.soft is not None and prompt.place is not None:
        yield Problem(("prompt", "place"), "a template says already where the prompt stands", prompt.place)


@_check
def _own_templates(config: Config) -> Iterator[Problem]:
    """A task's own template, and the prompt, which is one for all."""
    from pipeline.tasks.encoding.template import is_worded, soft_of

    prompt = config.prompt
    for index, task in enumerate(config.tasks):
        path = ("tasks", index, "template")
        if task.template is None:
            continue
        if not is_worded(task.template):
            expected = 'fields in braces, such as "{text} It was {mask}."'
            yield Problem(path, "a task's template is in words", task.template, expected)
        elif prompt.template is not None and prompt.worded is None:
            what, expected = "prompt.template says where soft tokens stand in rows without words", "one in words, too"
            yield Problem(("prompt", "template"), what, prompt.template, expected)
        elif soft_of(task.template) != prompt.soft:
            what = "the template's soft tokens are not those of prompt.template"
            found, hint = soft_of(task.template) or "none", "the tasks of a run share their prompts' shape"
            yield Problem(path, what, found, prompt.soft or "none", hint=hint)


@_check
def _hard(config: Config) -> Iterator[Problem]:
    """Nothing is trained, so nothing is pretrained, and words answer."""
    if config.prompt.method == "head" and config.prompt.head == "verbalizer":
        yield Problem(
            ("prompt", "head"), "the method head is a linear head alone", "verbalizer", hint="say method: hard"
        )
    if config.prompt.method != "hard":
        return
    if config.pretrain is not None:
        what = "hard prompts have nothing to pretrain"
        yield Problem(("prompt", "method"), what, "hard", hint="say pretrain: null")
    linear = [("prompt", "head")] if config.prompt.head == "linear" else []
    linear += [("tasks", index, "head") for index, task in enumerate(config.tasks) if task.head == "linear"]  # type: ignore[misc]
    for path in linear:
        yield Problem(path, "a linear head must be trained, and hard prompts train nothing", "linear", "verbalizer")


@_check
def _search_of_method(config: Config) -> Iterator[Problem]:
    """What a method leaves nothing to choose of."""
    prompt, pretrain = config.prompt, config.pretrain
    hint = f"{prompt.method} prompts have no depth: they begin at the embeddings"
    if not prompt.deep and prompt.first_layer not in ("auto", 0):
        yield Problem(("prompt", "first_layer"), "there is no layer to choose", prompt.first_layer, "auto", hint=hint)
    for path, settings in _search_sections(config):
        if not prompt.deep and settings.first_layers not in ("auto", (0,)):
            found = list(settings.first_layers)
            yield Problem((*path, "first_layers"), "there are no layers to choose", found, "auto", hint=hint)
    if pretrain is None:
        return
    if prompt.method == "head":
        yield Problem(("prompt", "method"), "a head alone has no prompt to pretrain", "head", hint="say pretrain: null")
    if pretrain.distil and pretrain.kind != "factors":
        what = "teachers go with factors (multitask prompt tuning)"
        yield Problem(("pretrain", "distil"), what, True, hint="say pretrain: {kind: factors}")
    if pretrain.kind == "factors" and prompt.recipe.encoder != "identity":
        what = "factors stand in place of an encoder: the method has one"
        yield Problem(("pretrain", "kind"), what, prompt.method, "deep or prompt_tuning")
    if pretrain.kind == "retrieval" and len({*config.pretrain_tasks, *config.adapt_tasks}) < 2:
        yield Problem(("pretrain", "kind"), "retrieval needs another task to start from", "one task", "at least two")


@_check
def _searches(config: Config) -> Iterator[Problem]:
    for path, settings in _search_sections(config):
        for key in ("lengths", "learning_rates", "first_layers"):
            values = getattr(settings, key)
            if values != "auto":
                yield from _repeated((*path, key), values)


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
def _compared(config: Config) -> Iterator[Problem]:
    compare, known = config.compare, comparable()
    for path, names in ((("compare", "methods"), compare.methods), (("compare",), compare.learning_rates)):
        for place, name in enumerate(names):
            if name not in known:
                at: Path_ = (*path, place) if path[-1] == "methods" else (*path, "learning_rates", name)
                yield Problem(at, "there is no such method", name, ", ".join(known), nearest(name, known))
    yield from _repeated(("compare", "methods"), compare.methods)
    for name, rates in compare.learning_rates.items():
        yield from _repeated(("compare", "learning_rates", name), rates)
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


@_check
def _registry(config: Config) -> Iterator[Problem]:
    from pipeline.registry import tracking_uri

    try:
        tracking_uri(config.registry.uri)
    except InputError as problem:
        yield Problem(("registry", "uri"), problem.what, problem.found, problem.expected, problem.nearest, problem.hint)
