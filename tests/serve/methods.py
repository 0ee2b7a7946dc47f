"""An artifact of every method on one backbone, of random numbers: nothing is trained, and networks are baked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone import Backbone, load_backbone
from pipeline.model import bank_on
from pipeline.prompts import make_encoder, parse_layout
from pipeline.registry import Artifact, Member, save_artifact
from tests.families import language_model
from tests.registry.made import SLOTS, facts_of
from tests.registry.peft.adapters import imported, peft_model

SIZE = {"roberta": {}, "gpt2": {"n_positions": 64}}
"""An encoder whose positions begin behind its padding's, and a decoder that writes; they read 65 and 64 tokens."""
TAGS = SLOTS["labels"]
TEMPLATE = "{text} it was {mask}"
WORDS = {"cancel": ("late", "not now"), "order": ("soon",), "refund": ("lost", "broken")}
VERBAL = {"head": "verbalizer", "words": WORDS}
HOW = {"max_new_tokens": 6, "beams": 1, "length_penalty": 1.0}
WRITTEN = {"type": "generation", "labels": ("text",), "pooling": "last"}
WRITING = {"metric": "bleu", "decoding": HOW}

METHODS: Mapping[str, dict[str, Any]] = {
    "deep": {"length": 5, "first_layer": 1},
    "prefixed": {"method": "prefix", "length": 4, "encoder": "mlp"},
    "tuned": {"method": "prompt_tuning", "length": 4, "layout": "after_first", "type": "token", "labels": TAGS},
    "p-tuned": {"method": "p_tuning", "length": 4, "layout": "{2} text {2}", "encoder": "bilstm+mlp"},
    "bare": {"method": "head", "length": 0, "first_layer": 2},
    "hard": {"method": "hard", "length": 0, "first_layer": 2, "task": {"template": TEMPLATE, **VERBAL}},
    "worded": {"length": 3, "task": {"template": TEMPLATE, **VERBAL}},
    "cloze": {
        "method": "p_tuning", "length": 3, "layout": "{2} {1}", "encoder": "lstm",
        "task": {"template": "{2} {text} {1} it was {mask}", **VERBAL},
    },
}  # fmt: skip
WRITERS: Mapping[str, dict[str, Any]] = {
    "told": {"length": 4, **WRITTEN, "task": WRITING},
    "told-soft": {"method": "prompt_tuning", "length": 3, "layout": "front", **WRITTEN, "task": WRITING},
}
"""Name → method, and how it is made."""


@dataclass(frozen=True)
class Made:
    """An artifact's folder, and what it was baked from: the same with the network itself where it has plain numbers."""

    folder: Path
    before: Artifact


def open_model(family: str) -> Backbone:
    return load_backbone(str(language_model(family, **SIZE[family])))


def make_all(folder: Path, backbone: Backbone) -> tuple[dict[str, Made], Any]:
    """Name → an artifact of each method, two that write where the backbone does, and one that came from PEFT; and
    PEFT's own model with the last."""
    kinds = {**METHODS, **(WRITERS if backbone.info.causal else {})}
    made = {name: _make(folder / name, backbone, name, n, **how) for n, (name, how) in enumerate(kinds.items())}
    theirs = peft_model(backbone.info.folder, "SEQ_CLS", "prefix")
    theirs.save_pretrained(folder / "theirs")
    made["peft"] = Made(folder / "peft", imported(folder / "theirs", folder / "peft", task="peft"))
    return made, theirs


def _make(
    folder: Path, backbone: Backbone, name: str, seed: int, *, length: int, method: str = "deep", first_layer: int = 0,
    layout: str | None = None, encoder: str = "identity", task: Mapping[str, Any] | None = None, **facts: Any,
) -> Made:  # fmt: skip
    info, draw = backbone.info, torch.Generator().manual_seed(seed)
    network = make_encoder(
        encoder, torch.randn(info.prompt_shape(length, first_layer, layout is None), generator=draw), info.width, seed
    )
    for parameter in network.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)  # one that has learnt something
    task = {**(task or {})}
    if layout is not None:  # as a run says it: an input prompt takes its share of the context
        task["max_tokens"] = (info.context or 0) - length
    plain = {"pooling": "last" if info.causal else "mean", "method": method, "layout": layout, **facts}
    made = facts_of(backbone, name=name, task=task, **plain)
    own = made.task.head == "linear" and made.task.decoding is None
    count = len(made.task.labels) if own else 0
    weight = 0.3 * torch.randn(count, info.width, generator=draw)  # small: a score of 1 would hide what changes it
    bias = torch.randn(count, generator=draw)
    baked = bank_on(info, [network], [None if layout is None else parse_layout(layout)]).bake(0)
    artifact = save_artifact(folder, [Member(baked, weight, bias)], made)
    return Made(folder, replace(artifact, members=(Member(network, weight, bias),)))
