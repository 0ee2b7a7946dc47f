"""One copy of a frozen backbone's weights for all processes of a node: a file in the run's dtype, memory-mapped.

The pages of a mapped file belong to the system: however many workers map it, they are in memory once, and a layer that
nobody runs (because its trunk is cached) is never read. Nothing writes to them, since the backbone is frozen.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.backbone.attention import SEAM, register_seam
from pipeline.backbone.load import read_weights
from pipeline.backbone.source import BackboneInfo, read_config
from pipeline.errors import InputError

FORMAT = 1


def read_mapped(info: BackboneInfo, dtype: str, folder: Path) -> nn.Module:
    """The transformers model of a backbone, its weights mapped from `folder`, where the first caller puts them.

    Args:
        info: what `describe` said. dtype: "float32" or "bfloat16".

    Raises:
        InputError: the folder cannot be written.
        RuntimeError: the file lacks a tensor of the model.
    """
    facts = f"{FORMAT}:{info.weights}:{info.family}:{dtype}:{transformers.__version__}"
    path = folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.safetensors"
    model = _empty(info)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process writes, the others wait for it
            if not _sound(path, model, dtype):
                _write(path, read_weights(info, dtype))
    except OSError as error:
        what = f"the backbone's weights cannot be kept for mapping ({error.strerror or error})"
        raise InputError(what, where=str(folder), hint="storage: names another place") from error
    _fill(model, path)
    return model


def _empty(info: BackboneInfo) -> nn.Module:
    """The model without memory for its weights."""
    from transformers import AutoModel

    register_seam()
    with torch.device("meta"):
        model = AutoModel.from_config(read_config(info.folder), attn_implementation=SEAM, trust_remote_code=False)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # as in `read_weights`
    return model


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, those that are no part of the state included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _sound(path: Path, model: nn.Module, dtype: str) -> bool:
    """Whether the file is whole and has what the model wants: the header tells."""
    wanted = {name: tuple(tensor.shape) for name, tensor in _tensors(model).items()}
    kinds = {name for name, tensor in model.named_parameters() if tensor.is_floating_point()}
    label = {"float32": "F32", "bfloat16": "BF16"}[dtype]
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(piece.get_shape()) for name, piece in found.items()}
            return shapes == wanted and all(found[name].get_dtype() == label for name in kinds)
    except (OSError, SafetensorError):
        return False


def _write(path: Path, model: nn.Module) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        # Tied weights are written once for each name: a file has no ties.
        save_file({name: tensor.detach().clone().contiguous() for name, tensor in _tensors(model).items()}, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _fill(model: nn.Module, path: Path) -> None:
    """Puts the mapped tensors into the model."""
    with safe_open(path, framework="pt") as file:
        for name in list(_tensors(model)):
            owner, _, last = name.rpartition(".")
            module = model.get_submodule(owner)
            tensor = file.get_tensor(name)  # a view of a private mapping
            if last in module._parameters:
                module._parameters[last] = nn.Parameter(tensor, requires_grad=False)
            else:
                module._buffers[last] = tensor
    left = [name for name, tensor in _tensors(model).items() if tensor.is_meta]
    if left:
        raise RuntimeError(f"the kept weights lack {', '.join(left)}")
