"""Artifacts of random numbers on random backbones: nothing here is trained."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import torch

from pipeline.backbone import Backbone, load_backbone
from pipeline.registry import BackboneIdentity, Facts, Member, Parent, TaskIdentity, save_artifact
from pipeline.tasks import parts_of
from tests.tiny import tiny_backbone

INTENT = {"name": "intent", "type": "classification", "labels": ("cancel", "order", "refund"), "lengths": (4,)}
SAME = {"name": "same", "type": "pair", "labels": ("no", "yes"), "lengths": (2, 6), "combine": "mean"}
SLOTS = {"name": "slots", "type": "token", "labels": ("B-x", "I-x", "O"), "lengths": (1, 5, 3), "combine": "vote"}


@cache
def backbone_of(family: str) -> Backbone:
    return load_backbone("minilm" if family == "minilm" else str(tiny_backbone(family)))


def members_of(backbone, labels, lengths, *, seed=0, first_layer=0, parts=1):
    """Members with prompts as large as real keys and values, so that a mistake shows in the answers."""
    info, draw = backbone.info, torch.Generator().manual_seed(seed)
    return [
        Member(
            torch.randn(info.layers - first_layer, 2, info.heads, length, info.head_size, generator=draw),
            torch.randn(len(labels), parts * info.width, generator=draw) if labels else None,
            torch.randn(len(labels), generator=draw) if labels else None,
        )
        for length in lengths
    ]


def facts_of(backbone, *, name="intent", type="classification", labels=INTENT["labels"], combine=None, **changes):
    metric = "span_f1" if type == "token" else "accuracy"
    task = {"columns": {}, "max_tokens": None, "too_long": "truncate", "metric": metric, **changes.pop("task", {})}
    plain = {
        "kind": "task",
        "name": name,
        "combine": combine,
        "layers": backbone.info.layers,
        "width": backbone.info.width,
        "pooling": "mean",
        "task": TaskIdentity(type=type, labels=labels, **task),
        "backbone": BackboneIdentity.of(backbone.info, "float32"),
        "data": {split: hashlib.sha256(split.encode()).hexdigest() for split in ("train", "dev", "test")},
        "metrics": {"dev": {"accuracy": 0.75}, "test": {"accuracy": 0.5}},
        "training": {"learning_rate": 0.01, "steps": 200, "lengths": [8, 16]},
        "parents": (Parent(kind="shared", name="shared-prompt", fingerprint="a" * 64),),
    }
    return Facts(**{**plain, **changes})


def make_artifact(folder: Path, backbone: Backbone, *, lengths=(4,), seed=0, first_layer=0, **changes):
    facts = facts_of(backbone, **changes)
    shape = {"first_layer": first_layer, "parts": parts_of(facts.pooling)}
    members = members_of(backbone, facts.task.labels, lengths, seed=seed, **shape)
    return save_artifact(folder, members, facts)


def make_shared(folder: Path, backbone: Backbone, seed=0, tasks=("intent",)):
    data = {f"{task}/train": hashlib.sha256(task.encode()).hexdigest() for task in tasks}
    changes = {"kind": "shared", "name": "shared-prompt", "task": None, "parents": (), "data": data}
    facts = facts_of(backbone).model_copy(update=changes)
    return save_artifact(folder, members_of(backbone, (), (8,), seed=seed), facts)


def rewrite_manifest(folder: Path, change) -> None:
    """Changes the manifest as someone would who knows how it is sealed: hashes and fingerprint fit again."""
    path = folder / "manifest.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    change(plain)
    for name in plain["files"]:
        if (folder / name).is_file():
            plain["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    rest = {key: value for key, value in plain.items() if key != "fingerprint"}
    plain["fingerprint"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(plain), encoding="utf-8")
