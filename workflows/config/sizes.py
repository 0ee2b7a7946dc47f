"""What must hold between a config and its backbone: prompts that fit its context, layers that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from workflows.config.settings import Config

if TYPE_CHECKING:
    from pipeline.backbone import BackboneInfo
    from pipeline.tasks import Task


def check_sizes(config: Config, info: BackboneInfo) -> list[InputError]:
    """What only the backbone can tell: prompts longer than its context, layers it does not have."""
    lengths = {"prompt.length": [config.prompt.length], **_searched(config, "lengths")}
    first = config.prompt.first_layer
    layers = {"prompt.first_layer": [] if first == "auto" else [int(first)], **_searched(config, "first_layers")}
    problems = []
    for where, values in lengths.items():
        for value in values:
            if info.context is not None and value > info.context:
                what, most = "the prompt is longer than the backbone's context", f"at most {info.context}"
                problems.append(InputError(what, where=where, found=value, expected=most))
    for where, values in layers.items():
        for value in values:
            if value >= info.entrances:
                what, there = "the backbone has no such layer", f"0 to {info.entrances - 1}"
                problems.append(InputError(what, where=where, found=value, expected=there))
    return problems + check_attention(config, info) + check_prompts(config, info)


def check_attention(config: Config, info: BackboneInfo) -> list[InputError]:
    """Prompts that nothing would read: in a decoder that does not run, or beside an encoder that heads read bare."""
    chosen = config.prompt.attention
    if chosen == "auto":
        return []
    where, found = "prompt.attention", list(chosen)
    if not info.decodes or not config.prompt.deep:
        which = "the backbone has one kind of attention" if config.prompt.deep else "input prompts stand in none"
        return [InputError(f"there is nothing to choose: {which}", where=where, found=found, expected="auto")]
    worded = config.worded
    if not worded and {*chosen} != {"encoder"}:
        what = "heads read the encoder, and no task writes: prompts in the decoder would have no effect"
        return [InputError(what, where=where, found=found, expected=["encoder"])]
    others = [task.name for task in config.tasks if task.name not in worded]
    if "encoder" not in chosen and others:
        what = f"heads read the encoder, where no prompt of {', '.join(others)} would stand"
        return [InputError(what, where=where, found=found, expected="encoder, and others")]
    return []


def check_prompts(config: Config, info: BackboneInfo) -> list[InputError]:
    """What only the backbone can tell of input prompts: a mask token for `label`, and whether words see what stands
    behind them."""
    from pipeline.backbone import load_tokenizer
    from pipeline.prompts.layout import no_mask_token
    from pipeline.tasks import TASK_TYPES

    problems = []
    layout = config.prompt.recipe.arrangement
    if layout is not None and layout.label is not None and load_tokenizer(info).mask_token_id is None:
        problems.append(no_mask_token())
    if layout is not None and info.causal and not {*layout.anchors} - {"end", "after_text"}:
        for task in config.tasks:
            kind = TASK_TYPES[task.type]
            if not (kind.pooled or kind.written) or task.spec(config.seed, config.prompt).head == "verbalizer":
                what, found = "a decoder's words do not see soft tokens behind them", config.prompt.layout
                hint = "put some in front, or use deep prompts"
                problems.append(InputError(what, where=f"prompt, task {task.name!r}", found=found, hint=hint))
    return problems


def check_templates(info: BackboneInfo, tasks: Mapping[str, Task]) -> list[InputError]:
    """What only the backbone can tell of templates and label words: tokens, a mask, a language-model head."""
    from pipeline.backbone import check_vocabulary, load_tokenizer
    from pipeline.tasks.encoding.encode import make_encoder

    problems = []
    worded = [task for task in tasks.values() if task.spec.template is not None]
    for task in worded:
        try:
            make_encoder(task, load_tokenizer(info), info.context, info.predicts)
        except InputError as problem:
            problems.append(problem)
    if any(task.spec.head == "verbalizer" for task in worded):
        try:
            check_vocabulary(info)
        except InputError as problem:
            problems.append(problem)
    return problems


def check_written(config: Config, info: BackboneInfo, tasks: Mapping[str, Task]) -> list[InputError]:
    """What only the backbone can tell of tasks that are written: that it writes, and how a text ends."""
    from pipeline.backbone import check_vocabulary, load_tokenizer
    from pipeline.tasks.encoding.encode import end_of_text

    written = [name for name, task in tasks.items() if task.kind.written]
    if not written:
        return []
    where, problems = f"task {written[0]!r}, type", []
    if info.predicts == "mask":
        what, expected = "an encoder reads texts and writes none", "a decoder or an encoder-decoder"
        problems.append(InputError(what, where=where, found=f"backbone {info.name} ({info.family})", expected=expected))
    else:
        for check in (lambda: end_of_text(load_tokenizer(info)), lambda: check_vocabulary(info)):
            try:
                check()
            except InputError as problem:
                problems.append(problem)
    taught = config.pretrain_tasks if config.pretrain is not None and config.pretrain.distil else ()
    for name in written:
        if name in taught:
            what = "a teacher's answers to a task that is written are scores of the whole vocabulary, and are not kept"
            hint = "say pretrain: {distil: false}, or leave the task out of pretrain.tasks"
            problems.append(InputError(what, where=f"pretrain.distil, task {name!r}", hint=hint))
    return problems


def _searched(config: Config, key: str) -> dict[str, list[int]]:
    """Where a search gives values of its own → the values; `auto` always fits."""
    found = {}
    for name in config.adapt_tasks:
        own = config.task(name).adapt
        its_own = own is not None and key in own.model_fields_set
        values = getattr(config.adapt_for(name), key)
        found[f"tasks.{name}.adapt.{key}" if its_own else f"adapt.{key}"] = [] if values == "auto" else list(values)
    return found
