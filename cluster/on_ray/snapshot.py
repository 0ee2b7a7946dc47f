"""Ray Train's record of its checkpoints, kept whole.

Ray overwrites the record in place. Killed in that moment it leaves half a record, and a run that Ray then refuses to
continue. So each save ends with a copy of the record, and a start puts the copy back where needed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

RECORD = "checkpoint_manager_snapshot.json"
COPY = RECORD + ".whole"


def remember_snapshot(run: Path) -> None:
    """Keeps a copy of the record if it is whole."""
    if _whole(run / RECORD):
        part = run / (COPY + ".part")
        shutil.copyfile(run / RECORD, part)
        os.replace(part, run / COPY)


def mend_snapshot(run: Path) -> None:
    """Puts the copy in place of a record that is not whole; without a usable copy the run starts anew."""
    if not (run / RECORD).exists() or _whole(run / RECORD):
        return
    if _whole(run / COPY):
        os.replace(run / COPY, run / RECORD)
    else:
        (run / RECORD).unlink()


def _whole(record: Path) -> bool:
    """Whether the record can be read and every checkpoint it names is there."""
    try:
        names = [entry["checkpoint_dir_name"] for entry in json.loads(record.read_text("utf-8"))["checkpoint_results"]]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return all((record.parent / name).is_dir() for name in names)
