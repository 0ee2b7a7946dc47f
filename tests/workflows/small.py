"""A whole run, small: a tiny random backbone, three demo tasks of which few rows are asked, a few steps."""

from __future__ import annotations

import re
from pathlib import Path

from tests.once import demo_folder, empty_registry
from tests.tiny import tiny_backbone

CONFIG = """
name: small
storage: {storage}
launcher: inline
backbone: {{model: {model}, dtype: float32, sharding: none}}
tasks:
  - {{name: intent, type: classification, data: {{demo: intent, rows: 30}}}}
  - {{name: slots, type: token, data: {{demo: slots, rows: 24}}}}
  - {{name: same_issue, type: pair, data: {{demo: same_issue, rows: 16}}}}
prompt: {{length: 4, init: normal}}
pretrain: {{tasks: [intent, slots], steps: 6, batch_rows: 8, checkpoint_every: 2}}
adapt: {{lengths: [2, 4], learning_rates: [1e-2], steps: 4, batch_rows: 6, evaluate_every: 2, checkpoint_every: 2}}
ensemble: {{size: 2}}
registry: {{uri: "sqlite:///{storage}/mlflow.db"}}
"""


def small_config(folder: Path, **changes: str) -> Path:
    """Writes the config to `folder`, with an empty registry, and returns its path; `changes` replace pieces of its
    text."""
    text = CONFIG.format(storage=folder, model=tiny_backbone("bert"))
    for before, after in changes.items():
        text = text.replace(before, after)
    text = re.sub(
        r"{demo: (\w+), rows: (\d+)}", lambda found: f"{{path: {demo_folder(found[1], int(found[2]))}}}", text
    )
    empty_registry(folder)
    file = folder / "small.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def fingerprints(run: Path) -> dict[str, str]:
    """Every artifact of a run: its folder below the run's → its content's fingerprint."""
    import json

    return {
        file.parent.relative_to(run).as_posix(): json.loads(file.read_text())["fingerprint"]
        for file in sorted(run.rglob("manifest.json"))
    }
