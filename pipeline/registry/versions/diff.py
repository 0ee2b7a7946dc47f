"""Two versions side by side: what one has and the other has not, and by how much their figures differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.registry.versions.entries import Shown


@dataclass(frozen=True)
class Line:
    """One fact of both; None where a version lacks it.

    Args:
        part: metrics, settings, task, data, backbone, lineage or sizes. key: which fact.
    """

    part: str
    key: str
    a: Any
    b: Any

    @property
    def same(self) -> bool:
        return bool(self.a == self.b)

    @property
    def change(self) -> float | None:
        """b less a, where both are numbers."""
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (self.a, self.b))
        return self.b - self.a if numbers else None


@dataclass(frozen=True)
class Diff:
    """Every fact of two versions, `a` and `b` being their names: task@v3."""

    a: str
    b: str
    lines: tuple[Line, ...]

    @property
    def different(self) -> tuple[Line, ...]:
        """What differs."""
        return tuple(line for line in self.lines if not line.same)

    def part(self, name: str) -> dict[str, Line]:
        """The facts of one part, by key."""
        return {line.key: line for line in self.lines if line.part == name}


def compare(a: Shown, b: Shown) -> Diff:
    """All facts of two versions, each once."""
    ours, theirs = _facts(a), _facts(b)
    lines = [
        Line(part, key, ours.get(part, {}).get(key), theirs.get(part, {}).get(key))
        for part in ours
        for key in dict.fromkeys([*ours[part], *theirs[part]])
    ]
    return Diff(f"{a.task}@v{a.version}", f"{b.task}@v{b.version}", tuple(lines))


def _facts(shown: Shown) -> dict[str, dict[str, Any]]:
    manifest = shown.manifest
    task = {} if manifest.task is None else manifest.task.model_dump(mode="json")
    shape = {
        "members": len(manifest.lengths),
        "lengths": ", ".join(map(str, manifest.lengths)),
        "first_layers": ", ".join(map(str, manifest.first_layers)),
    }
    return {
        "metrics": _flat(manifest.metrics),
        "settings": _flat(manifest.training)
        | {key: getattr(manifest, key) for key in ("combine", "pooling", "positions", "segments", "bent")},
        "task": _flat(task),
        "data": dict(manifest.data),
        "backbone": manifest.backbone.model_dump(mode="json"),
        "lineage": {one.name: _named(one.name, one.version, one.fingerprint) for one in shown.lineage},
        "sizes": {**shape, **{f"bytes.{name}": size for name, size in shown.files.items()}},
    }


def _named(name: str, version: int | None, fingerprint: str) -> str:
    return f"{name}@v{version}" if version is not None else f"{name}, not registered ({fingerprint[:12]}…)"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves by their path: candidates.0.learning_rate. A list of plain values is one leaf."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        items = list(enumerate(value))
    else:
        return {prefix: list(value) if isinstance(value, tuple) else value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
