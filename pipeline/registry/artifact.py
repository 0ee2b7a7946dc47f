"""An artifact on disk: baked prompts, their heads and the manifest, written whole or not at all, checked before use.

The files are safetensors and JSON: nothing in them can run, and nothing is fetched because of them. A winner has one
member, an ensemble several; everything else is the same.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipeline import __version__
from pipeline.backbone import BackboneInfo
from pipeline.errors import InputError
from pipeline.registry.manifest import FORMAT_VERSION, Facts, Manifest, fingerprint_of, read_manifest

MANIFEST = "manifest.json"
_MANIFEST_BYTES = 16 * 2**20
_HEADER_BYTES = 4096  # room for a safetensors header beside its tensors' entries
_ENTRY_BYTES = 256  # an entry is its name, type, shape and two offsets


@dataclass(frozen=True)
class Member:
    """One baked prompt and its head, fp32 on the CPU.

    Args:
        prompt: [L, 2, H, P, D], L counting the prompted layers, the backbone's uppermost; [P, E] for the input.
        weight: [C, M], bias: [C]; None for a shared prompt.
    """

    prompt: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True)
class Artifact:
    """A verified artifact."""

    manifest: Manifest
    members: tuple[Member, ...]


def save_artifact(folder: Path, members: Sequence[Member], facts: Facts) -> Artifact:
    """Writes an artifact to `folder`, replacing one that is there, and reads it back.

    Args:
        folder: appears when everything in it is written.
        members: at least one, of the same H and D, or of the same E.
        facts: the rest of the manifest.

    Returns:
        The artifact as `load_artifact` gives it.

    Raises:
        InputError: the disk is full or cannot be written; a tensor has another shape than the facts imply, or holds
            values that are not finite.
        ValueError: the facts contradict themselves.
    """
    shape, deep = members[0].prompt.shape, members[0].prompt.dim() == 5
    files = _tensors(members)
    contents = {name: save(tensors) for name, tensors in files.items()}
    plain = facts.model_dump(mode="json") | {
        "format_version": FORMAT_VERSION,
        "lengths": [member.prompt.shape[3 if deep else 0] for member in members],
        "first_layers": [_first_layer(member.prompt, facts) if deep else 0 for member in members],
        "heads": shape[2] if deep else None,
        "head_size": shape[4] if deep else None,
        "embedding": None if deep else shape[1],
        "created_by": __version__,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    plain["fingerprint"] = fingerprint_of(plain)
    manifest = Manifest.model_validate_json(json.dumps(plain, allow_nan=False))
    for name, shapes in manifest.expected_shapes().items():
        _check_tensors(files.get(name, {}), shapes, str(folder / name))
    contents[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    return _write(folder, contents)


def _first_layer(prompt: Tensor, facts: Facts) -> int:
    """The lowest of the sites that a deep prompt stands in."""
    standing = range(facts.layers) if facts.sites is None else facts.sites
    return standing[max(0, len(standing) - prompt.shape[0])]


def copy_artifact(source: Path, folder: Path) -> Artifact:
    """Copies an artifact's files, and nothing that lies beside them, to `folder`, replacing one that is there.

    Raises:
        InputError: as `load_artifact` and `save_artifact`.
    """
    names = (MANIFEST, *load_artifact(source).manifest.files)
    return _write(folder, {name: (source / name).read_bytes() for name in names})


def load_artifact(folder: Path) -> Artifact:
    """Reads an artifact; nothing of it is used before all of it is checked.

    Raises:
        InputError: a file is missing, too large or changed; the manifest is unsound; a tensor is missing, unexpected,
            of another shape or type, or holds values that are not finite.
    """
    if not folder.is_dir():
        raise InputError("there is no artifact folder", where=str(folder))
    manifest = read_manifest(_read(folder / MANIFEST, _MANIFEST_BYTES), str(folder / MANIFEST))
    tensors: dict[str, Tensor] = {}
    for name, shapes in manifest.expected_shapes().items():
        tensors |= _load_tensors(folder / name, manifest.files[name], shapes)
    members = tuple(
        Member(tensors[f"prompt.{n}"], tensors.get(f"weight.{n}"), tensors.get(f"bias.{n}"))
        for n in range(len(manifest.lengths))
    )
    return Artifact(manifest, members)


def check_backbone(artifact: Artifact, info: BackboneInfo, *, where: str | None = None) -> None:
    """Raises InputError unless the artifact was made for exactly this backbone."""
    own = artifact.manifest.backbone
    where = where or f"artifact {artifact.manifest.name!r}"
    for part in ("weights", "tokenizer", "fingerprint"):
        if getattr(own, part) != getattr(info, part):
            raise InputError(
                f"the artifact was made for another backbone: the {part} differ{'s' if part != 'weights' else ''}",
                where=where,
                found=f"{info.name} ({getattr(info, part)[:12]}…)",
                expected=f"{own.name}, revision {own.revision} ({getattr(own, part)[:12]}…)",
            )
    manifest = artifact.manifest
    shape = ("layers", "heads", "head_size", "width", "embedding")
    told = {name: getattr(manifest, name) for name in shape if getattr(manifest, name) is not None}
    found = {name: getattr(info, name) for name in told}
    if found != told:
        what = "the artifact does not fit the backbone's shape"
        raise InputError(what, where=where, found=_listed(found), expected=_listed(told))


def _listed(shape: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shape.items())


def _tensors(members: Sequence[Member]) -> dict[str, dict[str, Tensor]]:
    """File → tensor name → tensor, as they are written."""
    prompts: dict[str, Tensor] = {}
    heads: dict[str, Tensor] = {}
    for n, member in enumerate(members):
        prompts[f"prompt.{n}"] = member.prompt
        if member.weight is not None and member.bias is not None:
            heads |= {f"weight.{n}": member.weight, f"bias.{n}": member.bias}
    files = {"prompt.safetensors": prompts} | ({"head.safetensors": heads} if heads else {})
    # Members may share storage with a larger tensor, or with each other; a file holds plain copies.
    return {
        file: {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in tensors.items()}
        for file, tensors in files.items()
    }


def _write(folder: Path, contents: Mapping[str, bytes]) -> Artifact:
    """Puts an artifact's files in place: beside it first, read back, then renamed."""
    part, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, content in contents.items():
            (part / name).write_bytes(content)
        written = load_artifact(part)
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "no space is left on the disk" if full else f"the artifact cannot be written ({error.strerror or error})"
        raise InputError(what, where=str(folder)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return written


def _read(path: Path, limit: int) -> bytes:
    """The bytes of a file that may have no more than `limit`."""
    try:
        size = path.stat().st_size
        if size > limit:
            what = "the file is larger than the manifest implies"
            raise InputError(what, where=str(path), found=f"{size} bytes", expected=f"at most {limit} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"a file of the artifact cannot be read ({error.strerror})", where=str(path)) from error


def _load_tensors(path: Path, sha256: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
    content = _read(path, 4 * numbers + _HEADER_BYTES + _ENTRY_BYTES * len(shapes))
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError("the file was changed after it was written", where=str(path), found=found, expected=sha256)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise InputError(f"the file does not hold tensors ({error})", where=str(path)) from error
    _check_tensors(tensors, shapes, str(path))
    return tensors


def _check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    if tensors.keys() != shapes.keys():
        raise InputError("not the tensors expected", where=where, found=sorted(tensors), expected=sorted(shapes))
    for name, tensor in tensors.items():
        found, expected = f"{tuple(tensor.shape)} {tensor.dtype}", f"{shapes[name]} {torch.float32}"
        if found != expected:
            raise InputError(f"tensor {name!r} has another shape", where=where, found=found, expected=expected)
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"tensor {name!r} holds values that are not finite", where=where)
