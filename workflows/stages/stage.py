"""A stage is a function of its inputs: done with these inputs, or not done.

Its unfinished work lies in `<stage>.partial`, which is renamed to `<stage>` when all of it is written. `stage.json`
holds the fingerprint and the inputs behind it, so that a later run can say why it skips the stage, or which input has
changed.
"""

from __future__ import annotations

import enum
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.training.world import save_json


class Status(enum.Enum):
    """Where a stage stands. The value is what the user reads."""

    DONE = "done"
    INTERRUPTED = "interrupted"
    CHANGED = "changed"
    MISSING = "not run"


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Args:
        name: its folder below the run's, e.g. "adapt/intent".
        inputs: what it is a function of, by name; each value plain data or another stage's fingerprint.
    """

    name: str
    inputs: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """sha256 of the inputs."""
        return hashlib.sha256(json.dumps(self.inputs, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def room(self) -> str:
        """The kind of stage: what stands before the slash."""
        return self.name.split("/")[0]

    @property
    def task(self) -> str | None:
        """The task it is for, if it is for one."""
        return self.name.split("/", 1)[1] if "/" in self.name else None

    def folder(self, run: Path) -> Path:
        """Where its results are, once done."""
        return run / self.name

    def partial(self, run: Path) -> Path:
        """Where its unfinished work is, checkpoints included."""
        return run / f"{self.name}.partial"


@dataclass(frozen=True)
class Standing:
    """A stage's status with the reason for it, in words for the user."""

    status: Status
    reason: str

    @property
    def skipped(self) -> bool:
        return self.status is Status.DONE


def standing(run: Path, stage: Stage) -> Standing:
    """Whether a stage is done with its present inputs, and why (not)."""
    record = read_record(stage.folder(run) / "stage.json")
    started = read_record(stage.partial(run) / "started.json")
    if record is not None and record.get("fingerprint") == stage.fingerprint:
        return Standing(Status.DONE, f"unchanged since {record.get('finished', 'an earlier run')}")
    if started is not None and started.get("fingerprint") == stage.fingerprint:
        return Standing(Status.INTERRUPTED, "continues where it stopped")
    if record is not None:
        return Standing(Status.CHANGED, "changed: " + ", ".join(_changed(record.get("inputs", {}), stage.inputs)))
    return Standing(Status.MISSING, "has not run")


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    plain = json.loads(json.dumps(dict(now), sort_keys=True, default=str))
    return sorted(name for name in {*before, *plain} if before.get(name) != plain.get(name)) or ["the stage itself"]


def begin(run: Path, stage: Stage, *, fresh: bool = False) -> Path:
    """The folder to work in: as an interrupted run with the same inputs left it, else (or when `fresh`) empty."""
    partial = stage.partial(run)
    started = read_record(partial / "started.json")
    if fresh or started is None or started.get("fingerprint") != stage.fingerprint:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_json(partial / "started.json", {"fingerprint": stage.fingerprint, "began": _now()})
    return partial


def commit(run: Path, stage: Stage, summary: Mapping[str, Any], seconds: float) -> Path:
    """Makes the work in the partial folder the stage's result, all at once."""
    partial, folder = stage.partial(run), stage.folder(run)
    shutil.rmtree(partial / "checkpoints", ignore_errors=True)
    record = {
        "fingerprint": stage.fingerprint,
        "inputs": stage.inputs,
        "summary": summary,
        "seconds": round(seconds, 2),
        "finished": _now(),
    }
    save_json(partial / "stage.json", record)
    (partial / "started.json").unlink(missing_ok=True)
    if folder.exists():
        # Two renames: between them the old result is gone from its name but nothing half-written has it.
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(partial, folder)
    return folder


def read_record(path: Path) -> dict[str, Any] | None:
    """A stage's record, or None where there is no readable one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Two runs in one folder would overwrite each other's stages: the second is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise InputError(f"the run's folder cannot be written ({error.strerror})", where=str(folder)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise InputError(
                "this run is going on already",
                where=str(folder),
                found=f"process {file.read().strip()}",
                hint="wait for it, stop it, or give this one another name",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
