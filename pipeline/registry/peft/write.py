"""An artifact as a PEFT adapter: `adapter_config.json` and `adapter_model.safetensors`, as `PeftModel` loads them.

A head of ours is one linear map, read at a sequence's mean, first or last token, or at every token. PEFT's class for
tokens computes exactly such a map; its classes for sentences do not (BERT's goes through a pooler, a decoder's has no
bias, none takes a mean), and its class for questions drops positions and segments. So a head travels as one of tokens,
and the README says how to read the answer off its logits: the mean of a linear map is the linear map of the mean. What
came from another class goes back into it. `head.safetensors` and `deepprompt.json` lie beside, for `deepprompt import`;
PEFT passes them by.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from pipeline.backbone.source import BUILT_IN, find
from pipeline.errors import InputError
from pipeline.registry.artifact import Artifact, Member
from pipeline.registry.manifest import Manifest
from pipeline.registry.peft.names import (
    BESIDE,
    CONFIG,
    DECODERS,
    HEAD,
    KINDS,
    PROMPT,
    TENSORS,
    HeadNames,
    check_family,
    flat,
    head_names,
)
from pipeline.registry.peft.usage import usage
from pipeline.tasks import TASK_TYPES, make_head

BESIDE_FORMAT = 1
_PARTS = ("weight", "bias")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        kind, task_type: PEFT's. places: P. files: name → bytes.
        positions: "own" where PEFT has to be told that the prompt takes no positions, "shifted" where it need not.
        reading: how the answer is read off its logits: "sequence", "tokens", "mean", "first" or "last".
    """

    folder: Path
    kind: str
    task_type: str
    places: int
    positions: str
    reading: str
    files: dict[str, int]


def export_adapter(artifact: Artifact, folder: Path, *, member: int | None = None) -> Exported:
    """Writes one prompt of an artifact, and its head, to a new folder.

    Args:
        member: which of an ensemble's, counted from 1; may be left out where there is one.

    Raises:
        InputError: PEFT has no form for the prompt; the folder exists or cannot be written; an ensemble and no member.
    """
    manifest = artifact.manifest
    where = f"artifact {manifest.name!r}"
    number = _chosen(manifest, member, where)
    _check(manifest, number, where)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("there is something already", where=str(folder), expected="a folder to be made")
    one = _effective(manifest, artifact.members[number])
    task_type, reading = _form(manifest, one)
    names = head_names(manifest.backbone.family, task_type)
    contents = {
        CONFIG: _json(_config(manifest, number, task_type, names)),
        TENSORS: save({PROMPT: _plain(flat(one.prompt)), **_head(one, names)}),
        HEAD: save(_beside_head(one)),
        "README.md": usage(manifest, folder, _base(manifest), manifest.lengths[number], task_type, reading).encode(),
    }
    hashes = {name: hashlib.sha256(contents[name]).hexdigest() for name in (CONFIG, TENSORS, HEAD)}
    told = {"format": BESIDE_FORMAT, "member": number, "files": hashes, "manifest": manifest.model_dump(mode="json")}
    contents[BESIDE] = _json(told)
    _put(folder, contents)
    kind = next(kind for kind, method in KINDS.items() if method == _method(manifest))
    sizes = {name: len(content) for name, content in sorted(contents.items())}
    return Exported(folder, kind, task_type, manifest.lengths[number], manifest.positions, reading, sizes)


def _chosen(manifest: Manifest, member: int | None, where: str) -> int:
    count = len(manifest.lengths)
    if member is None and count > 1:
        what = f"it is an ensemble of {count} members, and an adapter holds one"
        raise InputError(what, where=where, hint=f"choose with --member 1 to --member {count}")
    if member is not None and not 1 <= member <= count:
        raise InputError("there is no such member", where=where, found=member, expected=f"1 to {count}")
    return (member or 1) - 1


def _check(manifest: Manifest, number: int, where: str) -> None:
    """Raises InputError where PEFT has no form for a member."""
    if manifest.task is None:
        hint = "export a task that came from it"
        raise InputError("a shared prompt has no head, and so no answers to agree on", where=where, hint=hint)
    check_family(manifest.backbone.family, where)
    if manifest.task.template is not None or manifest.task.head != "linear" or not _scored(manifest):
        what = "PEFT's classes know rows as they are and heads with numbers: no template, no words as answers"
        found = f"{manifest.task.type}, template {manifest.task.template!r}, head {manifest.task.head}"
        raise InputError(what, where=where, found=found)
    if manifest.pooling == "pair":
        what = "PEFT's classes read one vector of a row, this head reads both texts of a pair"
        raise InputError(what, where=where, found="pooling pair", hint="train the task with pooling: mean")
    if not manifest.lengths[number]:
        raise InputError("a head without a prompt has no form in PEFT", where=where, found=f"method {manifest.method}")
    if manifest.layout not in (None, "front"):
        what = "PEFT puts soft tokens in front of a row and nowhere else"
        raise InputError(what, where=where, found=manifest.layout, expected="front")
    if manifest.first_layers[number]:
        what = "PEFT's prefixes stand in every layer; keys of zero in the lower ones would still take attention"
        found = f"a prompt from layer {manifest.first_layers[number]} on"
        raise InputError(what, where=where, found=found, hint="search with adapt.first_layers: [0]")


def _scored(manifest: Manifest) -> bool:
    """Whether the head of the task's type is a linear map of its own."""
    assert manifest.task is not None
    return make_head(manifest.task.type, manifest.task.labels, manifest.pooling).rows > 0


def _form(manifest: Manifest, member: Member) -> tuple[str, str]:
    """PEFT's kind of task that computes the same logits, and how the answer is read off them."""
    assert manifest.task is not None
    if manifest.task.type == "qa" and manifest.segments == "none":
        return "QUESTION_ANS", "tokens"
    if not TASK_TYPES[manifest.task.type].pooled:
        return "TOKEN_CLS", "tokens"
    plain = member.bias is None or not bool(member.bias.any())
    last = manifest.pooling == "last" and manifest.backbone.family in DECODERS and manifest.layout is None
    if manifest.bent or (last and plain):
        return "SEQ_CLS", "sequence"
    return "TOKEN_CLS", manifest.pooling


def _effective(manifest: Manifest, member: Member) -> Member:
    """A member whose head has no bias where its scores take none: those of places are compared with each other."""
    assert manifest.task is not None and member.bias is not None
    biased = TASK_TYPES[manifest.task.type].scale.biased
    return member if biased else replace(member, bias=torch.zeros_like(member.bias))


def _method(manifest: Manifest) -> str:
    """Of deep prompts it does not matter how they were trained: baked they are prefixes."""
    return manifest.method if manifest.layout is not None else "prefix"


def _base(manifest: Manifest) -> str:
    """The backbone as PEFT finds it: a built-in one by the folder it has here."""
    name = manifest.backbone.name
    if name not in BUILT_IN:
        return name
    try:
        return str(find(name)[0])
    except InputError:
        return name


def _config(manifest: Manifest, number: int, task_type: str, names: HeadNames) -> dict[str, Any]:
    """`adapter_config.json`; PEFT reads what an input prompt leaves open off the base model."""
    assert manifest.task is not None
    deep = manifest.layout is None
    revision = manifest.backbone.revision
    common = {
        "auto_mapping": None,
        "base_model_name_or_path": _base(manifest),
        "inference_mode": True,
        "modules_to_save": list(names.save),
        "num_attention_heads": manifest.heads,
        "num_layers": manifest.layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": manifest.lengths[number],
        "revision": None if revision == "local" else revision,
        "task_type": task_type,
        "token_dim": (manifest.heads or 0) * (manifest.head_size or 0) if deep else manifest.embedding,
    }
    if deep:
        return {**common, "peft_type": "PREFIX_TUNING", "encoder_hidden_size": None, "prefix_projection": False}
    if manifest.method == "p_tuning":
        encoder = {"encoder_hidden_size": manifest.embedding, "encoder_reparameterization_type": "MLP"}
        return {**common, "peft_type": "P_TUNING", **encoder}
    return {**common, "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM"}


def _head(member: Member, names: HeadNames) -> dict[str, Tensor]:
    """The head's tensors, named as PEFT saves modules."""
    assert member.weight is not None and member.bias is not None
    tensors = {f"base_model.{names.linear}.weight": member.weight}
    if names.biased:
        tensors[f"base_model.{names.linear}.bias"] = member.bias
    if names.bend is not None and member.bend is not None:
        tensors |= {f"base_model.{names.bend}.{part}": own for part, own in zip(_PARTS, member.bend, strict=True)}
    return {name: _plain(tensor) for name, tensor in tensors.items()}


def _beside_head(member: Member) -> dict[str, Tensor]:
    assert member.weight is not None and member.bias is not None
    bend = {} if member.bend is None else {"bend": member.bend[0], "bend_bias": member.bend[1]}
    return {name: _plain(tensor) for name, tensor in {"weight": member.weight, "bias": member.bias, **bend}.items()}


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).clone().contiguous()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _put(folder: Path, contents: dict[str, bytes]) -> None:
    """The whole folder or nothing."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        for name, content in contents.items():
            (part / name).write_bytes(content)
        os.replace(part, folder)  # an empty folder may be there
    except OSError as error:
        raise InputError(f"the folder cannot be written ({error.strerror or error})", where=str(folder)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
