"""What stands in the table: the tasks, capped so that all of it fits a few hours of two cores, and the budget."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.tasks import TASK_TYPES

ROOT = Path(__file__).resolve().parents[3]
DATASETS = ROOT.parent / "shared" / "datasets"
WORK = ROOT / "runs" / "table"
"""Where capped rows, stages and artifacts are; what the table needs of them is copied to the results."""

TRAIN, DEV, TEST, TOKENS = 800, 200, 500, 96
"""Rows of each split, at most, and tokens of a row."""
STEPS, BATCH, SEEDS, LENGTH = 300, 16, 3, 32
"""The budget that every method has on every task, and the places of every prompt."""
EVERY = 30
"""Steps between two looks at dev."""


@dataclass(frozen=True)
class Entry:
    """A task of the table.

    Args:
        tokens: of its rows, where it needs more than the others. words: rows whose context has more are left out.
        many: whether it has many classes.
    """

    name: str
    type: str
    tokens: int = TOKENS
    words: int | None = None
    backbone: str = "minilm"
    many: bool = False

    @property
    def kind(self) -> str:
        """What suits it: see `rates`."""
        if self.type == "generation":
            return "texts"
        if TASK_TYPES[self.type].words:
            return "words"
        return "many classes" if self.many else "sentences"


ENTRIES = [
    Entry("subj", "classification"),
    Entry("snips_intent", "classification"),
    Entry("banking77", "classification", many=True),
    Entry("snli", "pair"),
    Entry("qnli", "pair"),
    Entry("ecare", "choice"),
    Entry("snips_slots", "token"),
    Entry("restaurant8k_slots", "token"),
    Entry("wnut17", "token"),
    Entry("ewt_pos", "token"),
    Entry("ewt_srl", "srl"),
    Entry("qamr", "qa"),
    Entry("squad20_dev", "qa", 160, words=95),
    Entry("e2e_clean", "generation", 320, backbone=str(DATASETS.parent / "models" / "stories260K")),
]
"""No dataset beside the checkout is multi-label or a regression."""
OWN = {"qa": {"overlap": 48}, "generation": {"decoding": {"max_new_tokens": 64}}}
"""What tasks of a type say besides."""
NAMES = [entry.name for entry in ENTRIES]
OURS = ("deep", "prefix", "prompt_tuning", "p_tuning", "head", "finetune")
PEFT = ("peft_prefix", "peft_prompt_tuning")
WHOLE = "deepprompt"
"""The product's whole way: one prompt pretrained on all the tasks, a search per task from it, an ensemble."""
METHODS = (WHOLE, *OURS, *PEFT)


def offered(name: str, method: str) -> bool:
    """Whether a method has a column for a task: what is written has no head of its own, and is measured on another
    backbone, without PEFT and without the whole way."""
    return entry(name).type != "generation" or method in ("deep", "prefix", "prompt_tuning", "p_tuning", "finetune")


def entry(name: str) -> Entry:
    return next(one for one in ENTRIES if one.name == name)


def write_config(name: str, entries: list[Entry], seed: int = 0) -> Path:
    """A config of some tasks, capped; its compare section has the budget, and all else is as by default.

    Raises:
        FileNotFoundError: the datasets are not beside the checkout.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    tasks = [
        {
            "name": one.name,
            "type": one.type,
            "data": {"path": str(capped(one))},
            "max_tokens": one.tokens,
            "unseen_labels": "count",
            **OWN.get(one.type, {}),
        }
        for one in entries
    ]
    config = {
        "name": name,
        "storage": str(WORK / "runs"),
        "seed": seed,
        "launcher": "inline",
        "backbone": {"model": entries[0].backbone},
        "tasks": tasks,
        "prompt": {"length": LENGTH},
        "pretrain": {"steps": 2 * STEPS, "batch_tokens": 1024},
        "adapt": {"batch_rows": BATCH},
        "registry": {"uri": f"sqlite:///{WORK}/mlflow.db", "prefix": "table"},
        "compare": {
            "methods": [method for method in OURS if all(offered(one.name, method) for one in entries)],
            "steps": STEPS,
            "seeds": SEEDS,
        },
    }
    file = WORK / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


def capped(one: Entry) -> Path:
    """The folder of a task's rows, drawn with a seed; made once."""
    folder = WORK / "data" / one.name
    for split, most in (("train", TRAIN), ("dev", DEV), ("test", TEST)):
        file = folder / f"{split}.jsonl"
        if not file.exists():
            lines = (DATASETS / one.name / file.name).read_text(encoding="utf-8").splitlines()
            if one.words is not None:
                lines = [line for line in lines if len(json.loads(line)["context"].split()) <= one.words]
            random.Random(0).shuffle(lines)
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines[:most]) + "\n", encoding="utf-8")
    return folder
