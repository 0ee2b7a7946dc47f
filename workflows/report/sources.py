"""The data behind a report: where each task's rows come from, how many there are, under which licence if it is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.tasks import Task
from pipeline.tasks.spec import DataSource

_LONGEST = 200  # characters of a licence that are shown
_TEXTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")


@dataclass(frozen=True)
class Source:
    """One task's data.

    Args:
        origin: folder, hub name or demo task. licence: as its own folder or card says; None where nothing says it.
        rows, fingerprints: per split; sha256 of the canonical rows.
    """

    task: str
    type: str
    origin: str
    licence: str | None
    rows: Mapping[str, int]
    fingerprints: Mapping[str, str]


def source(task: Task) -> Source:
    """What is known of a task's data."""
    rows = {split: len(table) for split, table in task.splits.items()}
    data, spec = task.spec.data, task.spec
    return Source(spec.name, spec.type, _origin(data), _licence(data), rows, dict(task.fingerprints))


def _origin(data: DataSource) -> str:
    if data.path is not None:
        return f"folder {data.path}"
    if data.hub is None:
        return f"demo suite, {data.demo}, seed {data.seed}"
    subset = f" ({data.subset})" if data.subset else ""
    return f"hub {data.hub}{subset}, {'revision ' + data.revision if data.revision else 'no revision given'}"


def _licence(data: DataSource) -> str | None:
    if data.demo is not None:
        return "generated, no text of others"
    folder = Path(str(data.path if data.path is not None else data.hub)).expanduser()
    if not folder.is_dir():  # a hub dataset's licence stands on its page, and a report fetches nothing
        return None
    try:
        found = _from_card(folder) or _from_readme(folder) or _from_text(folder)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return None if found is None else found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"


def _from_card(folder: Path) -> str | None:
    """card.json or dataset_info.json, as the datasets library writes one."""
    for name in ("card.json", "dataset_info.json"):
        file = folder / name
        if file.is_file() and isinstance(card := json.loads(file.read_text(encoding="utf-8")), dict):
            told = card.get("license") or card.get("licence")
            if told:
                return str(told)
    return None


def _from_readme(folder: Path) -> str | None:
    """The head of a hub-style README.md: YAML between two lines of dashes."""
    file = folder / "README.md"
    if not file.is_file():
        return None
    start, _, rest = file.read_text(encoding="utf-8").partition("---\n")
    if start.strip() or "---" not in rest:
        return None
    head = yaml.safe_load(rest.partition("\n---")[0])
    told = head.get("license") or head.get("licence") if isinstance(head, dict) else None
    return ", ".join(map(str, told)) if isinstance(told, list) else str(told) if told else None


def _from_text(folder: Path) -> str | None:
    """The first line of a licence file."""
    for name in _TEXTS:
        if (folder / name).is_file():
            lines = (line.strip(" #\t") for line in (folder / name).read_text(encoding="utf-8").splitlines())
            return next((line for line in lines if line), None)
    return None
