"""The files of a PEFT adapter, checked before any of them is used.

They are JSON and safetensors, so nothing in them can run; a pickled `adapter_model.bin` is not opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pipeline.errors import InputError, nearest, raise_all
from pipeline.registry.manifest import Manifest, manifest_problems, read_manifest
from pipeline.registry.peft.names import BESIDE, CONFIG, HEAD, KINDS, PROMPT, TENSORS

_JSON_BYTES = 16 * 2**20
_TENSOR_BYTES = 2**31
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_PICKLED = "adapter_model.bin"
_HEADS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")

Count = Annotated[int, Field(ge=1, le=2**20)]


class AdapterConfig(BaseModel):
    """What of `adapter_config.json` says what the tensors are; its other keys are about training."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    peft_type: str
    num_virtual_tokens: Count
    task_type: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    num_layers: Count | None = None
    num_attention_heads: Count | None = None
    token_dim: Count | None = None
    num_transformer_submodules: Count | None = None


@dataclass(frozen=True)
class Beside:
    """What `deepprompt export` put beside an adapter: the artifact's manifest, which member it is, and its head."""

    manifest: Manifest
    member: int
    head: Mapping[str, Tensor]


@dataclass(frozen=True)
class Adapter:
    """An adapter's files, read.

    Args:
        config: its kind is one of `KINDS`, its task one with a head. tensors: by name, fp32, finite.
        files: file → sha256, of all that was read. beside: None where PEFT alone wrote the folder.
    """

    folder: Path
    config: AdapterConfig
    tensors: Mapping[str, Tensor]
    files: Mapping[str, str]
    beside: Beside | None


def read_adapter(folder: Path) -> Adapter:
    """Reads an adapter's folder.

    Raises:
        InputError: no adapter there; a pickled one; a config that is not JSON, lacks a key or holds another type; a
            kind that is no prompt of one task; tensors that are none, not finite, or larger than any prompt; files of
            ours that were changed after the export.
    """
    if not (folder / CONFIG).is_file():
        raise _no_adapter(folder)
    contents = {CONFIG: _bytes(folder / CONFIG, _JSON_BYTES)}
    config = _config(contents[CONFIG], folder / CONFIG)
    if not (folder / TENSORS).is_file():
        pickled = (folder / _PICKLED).is_file()
        what = "the adapter's tensors are pickled, and nothing pickled is opened here" if pickled else "no tensors"
        hint = "convert it where you trust it: PeftModel.from_pretrained(model, FOLDER).save_pretrained(NEW_FOLDER)"
        found = _PICKLED if pickled else None
        raise InputError(what, where=str(folder), found=found, expected=TENSORS, hint=hint if pickled else None)
    contents[TENSORS] = _bytes(folder / TENSORS, _TENSOR_BYTES)
    tensors = _tensors(contents[TENSORS], folder / TENSORS)
    if PROMPT not in tensors:
        raise InputError("the file holds no prompt", where=str(folder / TENSORS), expected=PROMPT)
    beside = None
    if (folder / BESIDE).is_file():
        contents |= {BESIDE: _bytes(folder / BESIDE, _JSON_BYTES), HEAD: _bytes(folder / HEAD, _TENSOR_BYTES)}
        beside = _beside(contents, folder)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return Adapter(folder, config, tensors, files, beside)


def _no_adapter(folder: Path) -> InputError:
    if not folder.is_dir():
        return InputError("there is no such folder", where=str(folder), expected=f"a folder with {CONFIG}")
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    hint = f"adapters lie in {', '.join(inside[:5])}" if inside else None
    return InputError("the folder is no PEFT adapter", where=str(folder), expected=CONFIG, hint=hint)


def _bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputError("the file is too large", where=str(path), found=size, expected=f"at most {limit} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror})", where=str(path)) from error


def _object(content: bytes, path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file is not JSON ({error})", where=str(path)) from error
    if not isinstance(plain, dict):
        raise InputError("the file is not a JSON object", where=str(path), found=type(plain).__name__)
    return plain


def _config(content: bytes, path: Path) -> AdapterConfig:
    plain = _object(content, path)
    kind = plain.get("peft_type")
    if isinstance(kind, str) and kind not in KINDS:
        raise InputError(
            "only prompts travel: the backbone's own weights stay as they are",
            where=f"{path}: peft_type",
            found=kind,
            expected=", ".join(KINDS),
            nearest=nearest(kind, KINDS) or "PREFIX_TUNING",
        )
    try:
        config = AdapterConfig.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        raise_all(manifest_problems(error, str(path)))
        raise  # a ValidationError holds at least one problem
    if config.num_transformer_submodules not in (None, 1):
        what, found = "adapters of encoder-decoders do not travel", config.num_transformer_submodules
        raise InputError(what, where=f"{path}: num_transformer_submodules", found=found, expected=1)
    if config.task_type not in _HEADS:
        raise InputError(
            "the adapter has no head, so it answers nothing",
            where=f"{path}: task_type",
            found=config.task_type or "none",
            expected=", ".join(_HEADS),
        )
    return config


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"the file does not hold tensors ({error})", where=str(path)) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _FLOATS)
            raise InputError(
                f"tensor {name!r} is of another type", where=str(path), found=str(tensor.dtype), expected=expected
            )
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"tensor {name!r} holds values that are not finite", where=str(path))
    return {name: tensor.float() for name, tensor in tensors.items()}


def _beside(contents: Mapping[str, bytes], folder: Path) -> Beside:
    where = folder / BESIDE
    plain = _object(contents[BESIDE], where)
    files, member, manifest = plain.get("files"), plain.get("member"), plain.get("manifest")
    if plain.get("format") != 1 or not isinstance(files, dict) or type(member) is not int:
        hint = "take it away, and the folder is read as any PEFT adapter"
        raise InputError("the file is not as `deepprompt export` writes it", where=str(where), hint=hint)
    for name in (CONFIG, TENSORS, HEAD):
        found = hashlib.sha256(contents[name]).hexdigest()
        if files.get(name) != found:
            hint = f"take {BESIDE} away, and the folder is read as any PEFT adapter"
            what = "the file was changed after it was exported"
            raise InputError(what, where=str(folder / name), found=found, expected=files.get(name), hint=hint)
    own = read_manifest(json.dumps(manifest).encode(), str(where))
    if own.task is None or not 0 <= member < len(own.lengths):
        raise InputError("the file names no member of a task's artifact", where=str(where), found=member)
    return Beside(own, member, _tensors(contents[HEAD], folder / HEAD))
