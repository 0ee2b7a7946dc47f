"""What an artifact says of itself: everything but the numbers, in one strictly read `manifest.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.errors import InputError, nearest, raise_all
from pipeline.prompts import METHODS, parse_layout
from pipeline.registry.identity import BackboneIdentity, Count, Section, Sha256, TaskIdentity, Text
from pipeline.tasks import TASK_TYPES, Pooling, check_task_name, parts_of

FORMAT_VERSION = 4
"""Version 1 had one `first_layer` for all members and counted the layers from there; version 2 knew deep prompts only,
version 3 none that were made elsewhere. `_upgraded` reads them all."""
SHARED_PROMPT = "shared-prompt"
"""The name of a shared prompt in the registry."""
RESERVED_NAMES = frozenset({SHARED_PROMPT})
"""Names that no task may have."""

Figures = dict[str, float]


class Parent(Section):
    """An artifact that this one was trained from."""

    kind: Literal["shared", "task"]
    name: Text
    fingerprint: Sha256


class Origin(Section):
    """Where an artifact comes from that was not trained here."""

    format: Literal["peft"]
    base: str
    """The backbone's name as the files gave it."""
    files: dict[str, Sha256]
    """File → sha256, of those that it was made from."""


class Facts(Section):
    """What whoever saves an artifact knows of it."""

    kind: Literal["task", "shared"]
    """A shared prompt has neither task nor head."""
    name: Text
    """The task's name; `SHARED_PROMPT` for a shared prompt."""
    method: Literal["deep", "prefix", "prompt_tuning", "p_tuning", "head", "hard"] = "deep"
    """How the prompts were trained; what they are is either keys and values or vectors among the embeddings."""
    layout: Text | None = None
    """Where input prompts stand in a row, as `parse_layout` reads it; None for deep ones."""
    combine: Literal["mean", "vote"] | None = None
    """How members answer together; None for a single one."""
    votes: tuple[Count, ...] | None = None
    """How often each member counts; None for once each."""
    threshold: float | None = None
    """That its answers are read with, as dev chose it; None where the type has none."""
    layers: Count
    """Of the backbone; a prompt stands in the uppermost ones."""
    sites: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Those of the layers that prompts stand in, where that is not all (an encoder-decoder's encoder alone, say)."""
    width: Count
    """M, what a head reads."""
    pooling: Pooling
    positions: Literal["own", "shifted"] = "own"
    """Where a row's own tokens stand: at their own positions, or shifted by the prompt's length, as PEFT's prefixes
    have them."""
    segments: Literal["own", "none"] = "own"
    """Whether the second text of a pair is told apart where the backbone can; PEFT's class for questions cannot."""
    bent: bool = False
    """Whether each head has a layer of its own, with tanh, before its linear map, as PEFT's sentence heads have it."""
    task: TaskIdentity | None
    backbone: BackboneIdentity
    data: dict[str, Sha256]
    """Split → sha256 of its canonical rows; for a shared prompt TASK/SPLIT."""
    metrics: dict[str, Figures]
    """Split → metric → figure."""
    training: dict[str, Any]
    """Settings of the training, plain data without times: equal runs make equal artifacts."""
    parents: tuple[Parent, ...] = ()
    origin: Origin | None = None
    """None for one that was trained here."""


class Manifest(Facts):
    """The facts, and what the files themselves tell."""

    format_version: Literal[4]
    lengths: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    """P of each member; 0 for a head alone."""
    first_layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    """The lowest layer that each member stands in."""
    heads: Count | None
    """H; None for input prompts."""
    head_size: Count | None
    """D; None for input prompts."""
    embedding: Count | None = None
    """E of input prompts; None for deep ones."""
    created_by: Text
    """The version of deepprompt that wrote the artifact."""
    files: dict[str, Sha256]
    """File → sha256."""
    fingerprint: Sha256
    """sha256 of everything above; it holds no time, so equal training gives equal fingerprints."""

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        try:
            check_task_name(self.name)
        except InputError as error:
            raise ValueError(error.message) from error
        if (self.kind == "shared") != (self.name == SHARED_PROMPT) or (self.kind == "shared") != (self.task is None):
            raise ValueError(f"kind {self.kind!r} does not fit the name {self.name!r} and the task")
        if (self.layout is None) != METHODS[self.method].deep:
            raise ValueError(f"layout {self.layout!r} does not fit the method {self.method!r}")
        if self.layout is not None:
            try:
                parse_layout(self.layout)
            except InputError as error:
                raise ValueError(error.message) from error
        if self.positions == "shifted" and (self.layout is not None or max(self.first_layers)):
            raise ValueError("positions can be shifted for prompts in all layers only")
        if self.positions == "shifted" and self.task is not None and self.task.type == "generation":
            raise ValueError("what is written has positions of its own: they cannot be shifted")
        if self.pooling == "prompt" and self.layout is None:
            raise ValueError("pooling 'prompt' reads a soft token, of which deep prompts have none")
        if self.pooling == "pair" and self.task is not None and not TASK_TYPES[self.task.type].compared:
            raise ValueError(f"pooling 'pair' reads two texts, of which type {self.task.type!r} has none")
        shape = (self.embedding,) if self.layout is not None else (self.heads, self.head_size)
        if None in shape:
            raise ValueError(f"the shape {shape} of the prompts is not told")
        if self.votes is not None and len(self.votes) != len(self.lengths):
            raise ValueError(f"votes {list(self.votes)} do not fit {len(self.lengths)} members")
        if self.sites is not None and (list(self.sites) != sorted(set(self.sites)) or max(self.sites) >= self.layers):
            raise ValueError(f"sites {list(self.sites)} do not fit {self.layers} layers")
        if len(self.first_layers) != len(self.lengths) or max(self.first_layers) >= self.layers:
            raise ValueError(
                f"first layers {list(self.first_layers)} do not fit {len(self.lengths)} members on {self.layers} layers"
            )
        if (self.combine is None) != (len(self.lengths) == 1 or self.kind == "shared"):
            raise ValueError(f"combine {self.combine!r} does not fit {len(self.lengths)} members")
        if self.task is not None and len(self.lengths) > 1 and not TASK_TYPES[self.task.type].combinations:
            raise ValueError(
                f"{len(self.lengths)} members cannot answer together: {self.task.type!r} is written by one"
            )
        if set(self.files) != set(self.expected_shapes()):
            raise ValueError(f"files {sorted(self.files)} do not fit kind {self.kind!r}")
        return self

    def _prompted(self, first: int) -> int:
        return sum(site >= first for site in (range(self.layers) if self.sites is None else self.sites))

    def expected_shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """File → tensor → shape; every tensor is fp32."""
        prompts: dict[str, tuple[int, ...]] = {
            f"prompt.{n}": (length, self.embedding or 0)
            if self.layout is not None
            else (self._prompted(first), 2, self.heads or 0, length, self.head_size or 0)
            for n, (length, first) in enumerate(zip(self.lengths, self.first_layers, strict=True))
        }
        files: dict[str, dict[str, tuple[int, ...]]] = {"prompt.safetensors": prompts}
        if self.task is not None:
            head: dict[str, tuple[int, ...]] = {}
            for n in range(len(self.lengths)):
                own = self.task.head == "linear" and not TASK_TYPES[self.task.type].written
                rows = len(self.task.labels) if own else 0
                head[f"weight.{n}"] = (rows, parts_of(self.pooling) * self.width)
                head[f"bias.{n}"] = (rows,)
                if self.bent:
                    head |= {f"bend.{n}": (self.width, self.width), f"bend_bias.{n}": (self.width,)}
            files["head.safetensors"] = head
        return files


def fingerprint_of(plain: Mapping[str, Any]) -> str:
    """sha256 of a manifest's content but the fingerprint itself."""
    rest = {key: value for key, value in plain.items() if key != "fingerprint"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def read_manifest(text: bytes, where: str) -> Manifest:
    """A manifest from the bytes of its file, checked in itself.

    Raises:
        InputError: not JSON; of a format this version cannot read; a field missing, unknown, of another type, changed.
    """
    try:
        plain = json.loads(text)
    except ValueError as error:
        raise InputError(f"the manifest is not JSON ({error})", where=where) from error
    if not isinstance(plain, dict):
        raise InputError("the manifest is not a JSON object", where=where, found=type(plain).__name__)
    version = plain.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        newer = "a newer deepprompt wrote it: upgrade" if type(version) is int and version > FORMAT_VERSION else None
        raise InputError(
            "artifact of an unknown format version",
            where=where,
            found=repr(version),
            expected=f"1 to {FORMAT_VERSION}",
            hint=newer,
        )
    try:
        manifest = Manifest.model_validate_json(text if version == FORMAT_VERSION else json.dumps(_upgraded(plain)))
    except ValidationError as error:
        raise_all(manifest_problems(error, where))
        raise  # a ValidationError holds at least one problem
    if manifest.fingerprint != fingerprint_of(plain):
        raise InputError(
            "the manifest was changed after it was written",
            where=where,
            found=f"content {fingerprint_of(plain)}",
            expected=f"fingerprint {manifest.fingerprint}",
        )
    return manifest


def _upgraded(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of an earlier version in the words of this one; its fingerprint stays that of the file."""
    if plain.get("format_version") in (2, 3):
        return {**plain, "format_version": FORMAT_VERSION}
    rest = {key: value for key, value in plain.items() if key not in ("first_layer", "layers")}
    first, own, lengths = plain.get("first_layer"), plain.get("layers"), plain.get("lengths")
    if isinstance(first, int) and isinstance(own, int) and isinstance(lengths, list):
        rest |= {"layers": first + own, "first_layers": [first] * len(lengths)}
    return {**rest, "format_version": FORMAT_VERSION}


def manifest_problems(error: ValidationError, where: str) -> list[InputError]:
    """pydantic's complaints as ours, each with its place in the manifest."""
    problems = []
    for one in error.errors(include_url=False):
        place = ".".join(map(str, one["loc"]))
        fields = list(Manifest.model_fields)
        close = nearest(str(one["loc"][-1]), fields) if one["type"] == "extra_forbidden" else None
        message = str(one["msg"])
        found = None if one["type"] == "missing" else repr(one["input"])
        problems.append(InputError(message, where=f"{where}: {place}" if place else where, found=found, nearest=close))
    return problems
