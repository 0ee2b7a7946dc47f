"""A file of figures that several calls may add to at the same time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.training.world import save_json
from tests.benchmarks.rounding import rounded
from tests.benchmarks.table.entries import WORK

Figures = dict[str, Any]


def read(file: Path) -> Figures:
    """What is there by now."""
    found: Figures = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


@contextmanager
def adding(file: Path) -> Iterator[Figures]:
    """What is there, to be changed; nobody else changes it meanwhile."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        figures = read(file)
        yield figures
        save_json(file, rounded(figures, 6))
