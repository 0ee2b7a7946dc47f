"""A run of two small tasks for tests of plans: what a plan counts is known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import tiny_backbone

ROWS = {"train": 12, "dev": 6, "test": 4}


def write_task(folder: Path, words: int = 5) -> Path:
    folder.mkdir()
    for split, count in ROWS.items():
        rows = [{"text": " ".join(["phone"] * words), "label": "ab"[i % 2]} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_two_tasks(folder: Path) -> Path:
    """Writes both tasks and their config, which names them relative to `folder`; returns the config's path."""
    write_task(folder / "one")
    write_task(folder / "two", words=9)
    file = folder / "run.yaml"
    file.write_text(
        f"""\
name: small
launcher: inline
backbone: {{model: {tiny_backbone("bert")}, dtype: float32, sharding: none}}
tasks:
  - {{name: one, type: classification, data: {{path: one}}}}
  - {{name: two, type: classification, data: {{path: two}}, max_tokens: 8, adapt: {{lengths: [2], seeds: 2}}}}
prompt: {{length: 4}}
pretrain: {{tasks: [one], steps: 5, batch_rows: 4}}
adapt: {{lengths: [2, 4], steps: 4, batch_rows: 6, evaluate_every: 2}}
ensemble: {{size: 2}}
"""
    )
    return file
