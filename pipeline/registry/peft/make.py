"""An artifact from a PEFT adapter.

What PEFT does not keep (the task, its labels, which weights the base model had) the user says. Prefixes of PEFT move
their rows' tokens by the prompt's length; the artifact says so, and is answered with so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.backbone import BackboneInfo
from pipeline.errors import InputError, nearest, raise_all
from pipeline.registry.artifact import Artifact, Member, save_artifact
from pipeline.registry.identity import BackboneIdentity, TaskIdentity
from pipeline.registry.manifest import RESERVED_NAMES, Facts, Origin, Parent
from pipeline.registry.peft.base import base_pooler, find_base
from pipeline.registry.peft.names import DECODERS, KINDS, PROMPT, TENSORS, HeadNames, check_family, head_names, unflat
from pipeline.registry.peft.read import Adapter, Beside
from pipeline.tasks import TASK_TYPES, Pooling, check_task_name

TYPES = {"SEQ_CLS": ("classification", "pair", "multilabel"), "TOKEN_CLS": ("token",), "QUESTION_ANS": ("qa",)}
"""PEFT's kinds of tasks → the types that a head of them may answer, the usual one first."""


@dataclass(frozen=True)
class Wanted:
    """What the user says of an adapter; None for what the folder itself says, or the usual.

    Args:
        task: its name here. type: a key of `TASK_TYPES`. labels: what the head's outputs stand for, in their order.
        backbone: where the base model is. same_base: it is the base model, though its name is another.
        max_tokens: of a row. dtype: that the backbone is to answer in.
    """

    task: str | None = None
    type: str | None = None
    labels: tuple[str, ...] | None = None
    backbone: str | None = None
    same_base: bool = False
    max_tokens: int | None = None
    dtype: str = "float32"


def import_adapter(adapter: Adapter, into: Path, wanted: Wanted) -> Artifact:
    """Writes an artifact from an adapter to `into`.

    Raises:
        InputError: a fact is missing or does not fit; the base model is not there or another one; tensors of another
            shape than its; tensors missing or too many.
    """
    if adapter.beside is not None:
        return _own(adapter, adapter.beside, into, wanted)
    task_type = str(adapter.config.task_type)
    info = find_base(adapter, wanted.backbone, same=wanted.same_base)
    check_family(info.family, info.name)
    names = head_names(info.family, task_type)
    member = _member(adapter, info, names)
    deep = member.prompt.dim() == 5
    assert member.weight is not None
    name, identity = _task(adapter, wanted, task_type, member.weight.shape[0])
    room = None if info.context is None else info.context - adapter.config.num_virtual_tokens
    if room is not None and room < 1:
        what = "the prompt leaves no room for a row"
        raise InputError(
            what, where=str(adapter.folder), found=adapter.config.num_virtual_tokens, expected=info.context
        )
    sentence: Pooling = "last" if info.family in DECODERS else "first" if deep else "prompt"
    facts = Facts(
        kind="task",
        name=name,
        method="prefix" if deep else KINDS[adapter.config.peft_type],
        layout=None if deep else "front",
        layers=info.layers,
        width=info.width,
        pooling=sentence if task_type == "SEQ_CLS" else "mean",
        positions="shifted" if deep else "own",
        segments="none" if task_type == "QUESTION_ANS" else "own",
        bent=member.bend is not None,
        task=identity.model_copy(update={"max_tokens": _least(identity.max_tokens, room)}),
        backbone=BackboneIdentity.of(info, wanted.dtype),
        data={},
        metrics={},
        training={},
        origin=Origin(format="peft", base=adapter.config.base_model_name_or_path or "", files=dict(adapter.files)),
    )
    return save_artifact(into, [member], facts)


def _own(adapter: Adapter, beside: Beside, into: Path, wanted: Wanted) -> Artifact:
    """The artifact that an exported folder came from, or the member of it that was exported."""
    manifest, task = beside.manifest, beside.manifest.task
    assert task is not None
    given = {"--type": (wanted.type, task.type), "--labels": (wanted.labels, task.labels)}
    raise_all(
        [
            InputError("the folder says this itself, and otherwise", where=option, found=said, expected=own)
            for option, (said, own) in given.items()
            if said not in (None, own)
        ]
    )
    name = _name(wanted.task or manifest.name)
    find_base(adapter, wanted.backbone, same=wanted.same_base)
    deep = manifest.layout is None
    stored, places = adapter.tensors[PROMPT], manifest.lengths[beside.member]
    width = manifest.layers * 2 * (manifest.heads or 0) * (manifest.head_size or 0) if deep else manifest.embedding
    _fits(stored, (places, width or 0), PROMPT, adapter)
    prompt = unflat(stored, manifest.layers, manifest.heads or 0, manifest.head_size or 0) if deep else stored
    head = beside.head
    bend = (head["bend"], head["bend_bias"]) if {"bend", "bend_bias"} <= head.keys() else None
    plain = {key: getattr(manifest, key) for key in Facts.model_fields}
    single = len(manifest.lengths) == 1
    plain |= {
        "name": name,
        "combine": None,
        "votes": None,
        "metrics": manifest.metrics if single else {},  # an ensemble's figures are not its member's
        "threshold": manifest.threshold if single else None,
        "task": task.model_copy(update={"max_tokens": _least(wanted.max_tokens, task.max_tokens)}),
        "parents": (Parent(kind="task", name=manifest.name, fingerprint=manifest.fingerprint),),
        "origin": Origin(format="peft", base=manifest.backbone.name, files=dict(adapter.files)),
    }
    return save_artifact(into, [Member(prompt, head.get("weight"), head.get("bias"), bend)], Facts(**plain))


def _task(adapter: Adapter, wanted: Wanted, task_type: str, outputs: int) -> tuple[str, TaskIdentity]:
    """The task's name and identity, from what the user says; everything that is missing is told at once."""
    problems: list[InputError] = []
    name = wanted.task or ""
    if not name:
        problems.append(
            InputError("PEFT does not keep which task an adapter is for", where="--task", expected="a name")
        )
    else:
        try:
            _name(name)
        except InputError as problem:
            problems.append(problem)
    types = TYPES[task_type]
    type_ = wanted.type or types[0]
    if type_ not in types:
        what, close = f"a head of {task_type} does not answer this type", nearest(type_, types)
        problems.append(InputError(what, where="--type", found=type_, expected=", ".join(types), nearest=close))
        type_ = types[0]
    kind = TASK_TYPES[type_]
    labels = wanted.labels if kind.outputs is None else kind.outputs
    if labels is None:
        what = "PEFT does not keep what a head's outputs stand for"
        problems.append(InputError(what, where="--labels", expected=f"{outputs} labels in their order, as a,b,c"))
    elif len(labels) != outputs or len(set(labels)) != len(labels) or not all(labels):
        what = "the labels do not fit the head's outputs"
        problems.append(
            InputError(what, where="--labels", found=", ".join(labels), expected=f"{outputs} different ones")
        )
    raise_all(problems)
    assert labels is not None
    plain: dict[str, Any] = {"columns": {}, "max_tokens": wanted.max_tokens, "too_long": "truncate"}
    return name, TaskIdentity(type=type_, labels=labels, metric=kind.metric_for(labels), **plain)


def _name(name: str) -> str:
    try:
        check_task_name(name)
    except InputError as problem:
        raise problem.at("--task") from problem
    if name in RESERVED_NAMES:
        raise InputError("no task may have this name", where="--task", found=name)
    return name


def _member(adapter: Adapter, info: BackboneInfo, names: HeadNames) -> Member:
    """The prompt and the head, every tensor of the shape that the base model implies and none left over."""
    tensors, places = dict(adapter.tensors), adapter.config.num_virtual_tokens
    stored = tensors.pop(PROMPT)
    deep = KINDS[adapter.config.peft_type] == "prefix"
    width = info.layers * 2 * info.heads * info.head_size if deep else info.embedding
    _fits(stored, (places, width), PROMPT, adapter, f"{places} places on {info.name}")
    prompt = unflat(stored, info.layers, info.heads, info.head_size) if deep else stored
    weight = _taken(tensors, f"{names.linear}.weight", (None, info.width), adapter)
    outputs = weight.shape[0]
    bias = _taken(tensors, f"{names.linear}.bias", (outputs,), adapter) if names.biased else weight.new_zeros(outputs)
    bend = None
    if names.bend is not None:
        if f"base_model.{names.bend}.weight" in tensors or "pooler" not in names.bend:
            square = _taken(tensors, f"{names.bend}.weight", (info.width, info.width), adapter)
            bend = square, _taken(tensors, f"{names.bend}.bias", (info.width,), adapter)
        else:
            bend = base_pooler(info)
    if tensors:
        expected = f"{PROMPT} and the head of a {info.family} for {adapter.config.task_type}"
        raise InputError("tensors of other modules", where=_where(adapter), found=sorted(tensors), expected=expected)
    return Member(prompt, weight, bias, bend)


def _taken(tensors: dict[str, Tensor], name: str, shape: tuple[int | None, ...], adapter: Adapter) -> Tensor:
    full = f"base_model.{name}"
    if full not in tensors:
        there = ", ".join(sorted(tensors)) or "none but the prompt"
        raise InputError("the head is not in the file", where=_where(adapter), found=there, expected=full)
    tensor = tensors.pop(full)
    _fits(
        tensor, tuple(tensor.shape[0] if size is None and tensor.dim() else size or 0 for size in shape), full, adapter
    )
    return tensor


def _fits(tensor: Tensor, shape: tuple[int, ...], name: str, adapter: Adapter, because: str | None = None) -> None:
    if tuple(tensor.shape) != shape or not shape[0]:
        expected = f"{shape}{f', {because}' if because else ''}"
        what, hint = f"tensor {name!r} has another shape", "is --backbone the model that it was trained on?"
        raise InputError(what, where=_where(adapter), found=tuple(tensor.shape), expected=expected, hint=hint)


def _where(adapter: Adapter) -> str:
    return str(adapter.folder / TENSORS)


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
