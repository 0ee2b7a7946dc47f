"""What takes a while to make, made once per test process and used or copied by many tests."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from pipeline.registry import PromptRegistry
from pipeline.tasks import DataSource, TaskSpec, load_task
from pipeline.tasks.demo import DEMO_TASKS

ASKED = 40
"""Rows of dev and of test: an evaluation of all hundreds shows no more of a run than one of these."""


@cache
def demo_folder(name: str, rows: int) -> Path:
    """A folder of a demo task with `rows` few-shot rows of train and the first ones of dev and test."""
    folder = Path(mkdtemp(prefix=f"demo-{name}-"))
    spec = TaskSpec(name=name, type=DEMO_TASKS[name].type, data=DataSource(demo=name, rows=rows))
    for split, found in load_task(spec, folder / "cache").splits.items():
        kept = found.to_list() if split == "train" else found.to_list()[:ASKED]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return folder


@cache
def _database() -> Path:
    file = Path(mkdtemp(prefix="empty-registry-")) / "mlflow.db"
    PromptRegistry(f"sqlite:///{file}").check()
    return file


def empty_registry(folder: Path) -> str:
    """The address of a registry in `folder`, with nothing in it when it is new: MLflow takes a second to make one."""
    if not (folder / "mlflow.db").exists():
        shutil.copyfile(_database(), folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"
