"""Finding a task's three splits: in a local folder, at a URI, on the hub, or in the demo suite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.errors import InputError, nearest, raise_all
from pipeline.tasks.data.hub import hub_sources
from pipeline.tasks.data.readers import Numbered, RowSource, file_source
from pipeline.tasks.data.remote import is_uri, remote_folder
from pipeline.tasks.spec import SPLIT_NAMES, DataSource, TaskSpec

_FORMATS = (".jsonl", ".csv", ".parquet")


def open_sources(spec: TaskSpec, cache_dir: Path) -> tuple[list[RowSource], list[str]]:
    """The train, dev and test rows of a task, and notes on choices that the user should know of.

    Raises:
        InputError: the folder, a split or the dataset is not there; says what is.
    """
    if spec.data.path is not None and is_uri(spec.data.path):
        return _remote(spec.data.path, cache_dir), []
    if spec.data.path is not None:
        return _folder(Path(spec.data.path).expanduser()), []
    if spec.data.hub is not None:
        return hub_sources(spec, cache_dir)
    return _demo(spec.data), []


def _folder(folder: Path) -> list[RowSource]:
    if not folder.is_dir():
        raise InputError("no such data folder", where=str(folder), **_beside(folder))
    names = sorted(entry.name for entry in folder.iterdir())
    problems: list[InputError] = []
    sources: list[RowSource] = []
    for split in SPLIT_NAMES:
        wanted = [stem + suffix for stem in SPLIT_NAMES[split] for suffix in _FORMATS]
        there = [name for name in wanted if name in names]
        if len(there) == 1:
            sources.append(file_source(folder / there[0], split))
        elif there:
            problems.append(
                InputError(f"more than one {split} split", where=str(folder), found=" and ".join(there), expected="one")
            )
        else:
            problems.append(
                InputError(
                    f"no {split} split",
                    where=str(folder),
                    found=", ".join(names) or "an empty folder",
                    expected=" or ".join(f"{SPLIT_NAMES[split][0]}{suffix}" for suffix in _FORMATS),
                    nearest=_nearest_file(split, names),
                )
            )
    raise_all(problems)
    return sources


def _remote(uri: str, cache_dir: Path) -> list[RowSource]:
    """The splits at a URI, read from a local copy and told by where they come from."""
    wanted = tuple(stem + suffix for stems in SPLIT_NAMES.values() for stem in stems for suffix in _FORMATS)
    sources = _folder(remote_folder(uri, wanted, cache_dir))
    return [replace(source, name=f"{uri.rstrip('/')}/{Path(source.name).name}") for source in sources]


def _nearest_file(split: str, names: list[str]) -> str | None:
    """The file that may have been meant as a split: by its stem, since many share a suffix."""
    taken = {stem + suffix for stems in SPLIT_NAMES.values() for stem in stems for suffix in _FORMATS}
    stems = {Path(name).stem: name for name in names if name not in taken}
    return stems.get(nearest(split, stems) or "")


def _beside(folder: Path) -> dict[str, str | None]:
    """What stands where a folder was looked for."""
    if folder.exists():
        return {"found": "a file", "expected": "a folder with train, dev and test"}
    parent = folder.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    names = sorted(entry.name for entry in parent.iterdir())
    listed = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    missing = folder.relative_to(parent).parts[0]
    return {"hint": f"{parent} holds {listed or 'nothing'}", "nearest": nearest(missing, names)}


def _demo(data: DataSource) -> list[RowSource]:
    from pipeline.tasks.demo import DEMO_TASKS, demo_rows

    name = str(data.demo)
    if name not in DEMO_TASKS:
        names = list(DEMO_TASKS)
        raise InputError(
            "no such demo task", where="data.demo", found=name, expected=", ".join(names), nearest=nearest(name, names)
        )

    def source(split: str) -> RowSource:
        def read() -> Iterator[Numbered]:
            yield from enumerate(demo_rows(name, split, seed=data.seed), start=1)

        return RowSource(split, f"demo {name}, {split}", "row", read)

    return [source(split) for split in SPLIT_NAMES]
