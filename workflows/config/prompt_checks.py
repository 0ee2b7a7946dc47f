"""What must hold of the prompts a config asks for: choices of a method that fit it, templates that fit their tasks."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import InputError
from workflows.config.problems import Problem, check, search_sections
from workflows.config.settings import Config


@check
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


@check
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


@check
def _pair(config: Config) -> Iterator[Problem]:
    """Where soft tokens leave the label a place, that one place is read, and nothing beside it to compare."""
    if config.prompt.layout is None or "label" not in config.prompt.layout:
        return
    asked = [(("backbone", "pooling"), config.backbone.pooling)]
    asked += [(("tasks", index, "pooling"), task.pooling) for index, task in enumerate(config.tasks)]  # type: ignore[misc]
    for path, pooling in asked:
        if pooling == "pair":
            what = "the template leaves the label a place, which alone is read: there is no pair"
            yield Problem(path, what, pooling, "auto, mean, first or last")


@check
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


@check
def _search_of_method(config: Config) -> Iterator[Problem]:
    """What a method leaves nothing to choose of."""
    prompt, pretrain = config.prompt, config.pretrain
    hint = f"{prompt.method} prompts have no depth: they begin at the embeddings"
    if not prompt.deep and prompt.first_layer not in ("auto", 0):
        yield Problem(("prompt", "first_layer"), "there is no layer to choose", prompt.first_layer, "auto", hint=hint)
    for path, settings in search_sections(config):
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
