"""What the registry tells of itself: plain records, nothing open behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.registry.manifest import Manifest


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; `created` is False when the same artifact was registered before."""

    task: str
    name: str
    version: int
    created: bool


@dataclass(frozen=True)
class Listed:
    """A task in the registry: its champion if it has one, else its newest version."""

    task: str
    name: str
    version: int
    aliases: Mapping[str, int]
    versions: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Ancestor:
    """An artifact that another was trained from.

    Args:
        name: of a task, or of the shared prompt. version: None when it is not in the registry.
        tasks: those it was trained on, as far as the registry knows.
    """

    name: str
    version: int | None
    fingerprint: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """All that is known of one version.

    Args:
        aliases: those that point to it. run_id: the MLflow run that made it. created: ISO time. folder: its artifact.
        files: name → bytes. manifest: metrics, settings and shapes. lineage: what it came from, the nearest first.
    """

    task: str
    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str | None
    created: str
    folder: Path
    files: Mapping[str, int]
    tags: Mapping[str, str]
    manifest: Manifest
    lineage: tuple[Ancestor, ...] = ()
