"""One copy of a frozen backbone's weights for all processes of a node: a file in the run's dtype, memory-mapped.

The pages of a mapped file belong to the system: however many workers map it, they are in memory once, and it may drop
those that nobody reads any more, the layers below a cached trunk first of all. Nothing writes to them, since the
backbone is frozen; a write would reach a private copy of the page, never the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.backbone.attention import SEAM, register_seam
from pipeline.backbone.dtypes import DTYPES
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.layers import Skipped, find_layers, relative_attention
from pipeline.backbone.source import read_config
from pipeline.backbone.weights import read_weights
from pipeline.errors import InputError

FORMAT = 1


def read_mapped(info: BackboneInfo, dtype: str, folder: Path, *, first_layer: int = 0) -> nn.Module:
    """The transformers model of a backbone, its weights mapped from `folder`, where the first caller puts them.

    Args:
        info: what `describe` said. dtype: "float32" or "bfloat16".
        folder: on a disk of this node, shared by its processes.
        first_layer: the layers below it are not loaded: `Skipped` stands in their places.

    Returns:
        What `read_weights` gives, in evaluation mode and without gradients.

    Raises:
        InputError: the folder cannot be written.
        RuntimeError: the weights lack a tensor of the model.
    """
    facts = f"{info.weights}:{info.family}:{dtype}:{transformers.__version__}"
    model = _empty(info, dtype)
    kept = keep(folder, facts, _tensors(model), lambda: _tensors(read_weights(info, dtype)), info.name)
    own, modules = info.sites[: info.entrances], dict(model.named_modules())
    if first_layer and all(name in modules for name in own):  # else its layers are one (ALBERT): none can be left out
        layers = find_layers(model, own)
        for index in range(first_layer):
            if relative_attention(layers[index]) is None:  # T5: what the lowest layer says of positions is needed above
                layers[index] = Skipped(layers[index])
    _fill(model, kept)
    return model.eval()


def keep(
    folder: Path, facts: str, wanted: Mapping[str, Tensor], read: Callable[[], Mapping[str, Tensor]], of: str
) -> dict[str, Tensor]:
    """The tensors of a file in the folder, mapped; the first caller has them read and writes them there.

    Args:
        facts: what they follow from. wanted: what they are like. read: gives them. of: the backbone, for errors.
    """
    facts = f"{FORMAT}:{facts}"
    path = folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.safetensors"
    kept = _open(path, facts)
    if _faults(wanted, kept):  # a sound file needs neither the lock nor the right to write
        with _alone(path):
            kept = _open(path, facts)  # another process may have written it meanwhile
            if _faults(wanted, kept):
                _write(path, facts, read())
                kept = _open(path, facts)
    if faults := _faults(wanted, kept):
        raise RuntimeError(f"the weights of {of!r} lack what the model needs: {', '.join(faults)}")
    return kept


def _empty(info: BackboneInfo, dtype: str) -> nn.Module:
    """The model without memory for its weights."""
    from transformers import AutoModel

    register_seam()
    with torch.device("meta"):
        model = AutoModel.from_config(
            read_config(info.folder), dtype=DTYPES[dtype], attn_implementation=SEAM, trust_remote_code=False
        )
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # as in `read_weights`
    return model


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, those that are no part of the state included; a tied one under each of its names."""
    parameters = model.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(model.named_buffers(remove_duplicate=False))}


def _open(path: Path, facts: str) -> dict[str, Tensor]:
    """The tensors of a whole file, views of one private mapping of it of which nothing is read yet; else none."""
    try:
        with safe_open(path, framework="pt") as file:  # it compares the file's length with its header
            if (file.metadata() or {}).get("facts") != facts:
                return {}
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return {}


def _faults(wanted: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that were not kept, or in another shape or dtype."""

    def fits(tensor: Tensor, found: Tensor | None) -> bool:
        if found is None or found.shape != tensor.shape:
            return False
        # Some families keep some weights in fp32 whatever dtype is asked for.
        return found.dtype == tensor.dtype or (tensor.is_floating_point() and found.dtype == torch.float32)

    return [name for name, tensor in wanted.items() if not fits(tensor, kept.get(name))]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process of the node writes, the others wait for it; the system frees the lock of one that dies."""
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("a")
    with lock:
        with _writing(path.parent):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors tells of a full disk in an error of its own
        what = f"the backbone's weights cannot be kept for mapping ({getattr(error, 'strerror', None) or error})"
        raise InputError(what, where=str(folder), hint="storage: names another place") from error


def _write(path: Path, facts: str, read: Mapping[str, Tensor]) -> None:
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in read.items():
        whole = tensor.detach().contiguous()
        # A file has no ties: what shares its memory is written once for each name. The rest needs no second copy.
        tensors[name] = whole.clone() if whole.data_ptr() in places else whole
        places.add(whole.data_ptr())
    part = path.with_suffix(".part")  # a folder, since safetensors puts a temporary file of its own beside the target
    with _writing(path.parent):
        shutil.rmtree(part, ignore_errors=True)  # of a writer that was killed: we have the lock
        try:
            part.mkdir()
            save_file(tensors, part / path.name, metadata={"facts": facts})
            os.replace(part / path.name, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _fill(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Puts the mapped tensors into the model in place of the empty ones."""
    for name in _tensors(model):
        owner, _, last = name.rpartition(".")
        module = model.get_submodule(owner)
        if last in module._parameters:
            module._parameters[last] = nn.Parameter(kept[name], requires_grad=False)
        else:
            module._buffers[last] = kept[name]
