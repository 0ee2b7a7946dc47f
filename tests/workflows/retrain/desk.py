"""A help desk of two small tasks whose rows a test may change, on a tiny backbone that learns them in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.once import empty_registry
from tests.tiny import tiny_backbone

VERBS, NOUNS = ("order", "cancel", "refund"), ("phone", "laptop", "card")
CONFIG = """
name: desk
storage: {folder}/runs
launcher: inline
backbone: {{model: {model}, dtype: float32, sharding: none}}
tasks:
  - {{name: intent, type: classification, data: {{path: data/intent}}}}
  - {{name: things, type: token, data: {{path: data/things}}}}
prompt: {{length: 2, init: normal}}
pretrain: {{steps: 4, batch_rows: 8, checkpoint_every: 2}}
adapt: {{lengths: [2], first_layers: [0], steps: 40, batch_rows: 16, evaluate_every: 8, halving: null, seeds: 1}}
ensemble: null
trunk: null
gate: {{resamples: 200}}
retrain: {{lease_seconds: 5}}
registry: {{uri: "sqlite:///{folder}/mlflow.db"}}
"""


def make_desk(folder: Path, **changes: str) -> Path:
    """Writes config and rows to `folder`; `changes` replace pieces of the config's text. Returns the config's path."""
    write_intent(folder)
    write_things(folder)
    empty_registry(folder)
    text = CONFIG.format(folder=folder, model=tiny_backbone("bert"))
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    file = folder / "desk.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def write_intent(folder: Path, *, seed: int = 0, shift: int = 0, dev_shift: int = 0, verbs=VERBS) -> None:
    """The intent task's rows: a row's label is its verb; `shift` teaches train another one, `dev_shift` asks dev for
    another one."""
    draw = random.Random(seed)
    for split, count in (("train", 60), ("dev", 60), ("test", 30)):
        moved = {"train": shift, "dev": dev_shift, "test": dev_shift}[split]
        rows = []
        for n in range(count):
            verb = n % len(verbs)
            words = [
                "please",
                verbs[verb],
                draw.choice(["the", "my"]),
                draw.choice(NOUNS),
                draw.choice(["now", "soon"]),
            ]
            rows.append({"text": " ".join(words), "label": verbs[(verb + moved) % len(verbs)]})
        _write(folder / "data/intent", split, rows)


def write_things(folder: Path, *, seed: int = 0) -> None:
    """The things task's rows: nouns are tagged."""
    draw = random.Random(seed)
    for split, count in (("train", 40), ("dev", 30), ("test", 30)):
        rows = []
        for _ in range(count):
            words = ["please", draw.choice(VERBS), "my", draw.choice(NOUNS), draw.choice(["now", "today"])]
            rows.append({"tokens": words, "tags": ["B-thing" if word in NOUNS else "O" for word in words]})
        _write(folder / "data/things", split, rows)


def _write(folder: Path, split: str, rows: list) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
