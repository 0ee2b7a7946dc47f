"""A run as its user has it on disk before it is submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def write_run(folder: Path, **changes: Any) -> Path:
    """Its config in the folder, with a row of data beside it."""
    data = folder / "data" / "intent"
    data.mkdir(parents=True, exist_ok=True)
    (data / "train.jsonl").write_text('{"text": "a", "label": "b"}\n')
    config = {
        "name": "my run",
        "storage": "/shared/runs",
        "backbone": {"model": "minilm"},
        "tasks": [
            {"name": "intent", "type": "classification", "data": {"path": "data/intent"}},
            {"name": "there", "type": "pair", "data": {"path": "/on/the/cluster"}},
            {"name": "hub", "type": "pair", "data": {"hub": "google/boolq"}},
        ],
        "registry": {"uri": "http://mlflow:5000"},
    } | changes
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
