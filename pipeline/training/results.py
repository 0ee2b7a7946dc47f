"""What training leaves on disk for the stages after it: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.training.candidates import Candidate, Trained
from pipeline.training.pretraining.shared import SharedPrompt
from pipeline.training.world import save_json

SHARED_FILES = ("shared.safetensors", "shared.json")
"""What `save_shared` writes."""


def save_shared(folder: Path, shared: SharedPrompt) -> None:
    """Writes the shared prompt and the source tasks' heads to `folder`."""
    tensors = {"prompt": shared.prompt}
    for task, (weight, bias) in shared.heads.items():
        tensors |= {f"weight.{task}": weight, f"bias.{task}": bias}
    tensors |= {f"own.{task}": prompt for task, prompt in shared.own.items()}
    for task, (u, v) in shared.factors.items():
        tensors |= {f"u.{task}": u, f"v.{task}": v}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "shared.safetensors")
    plain = {"tasks": list(shared.heads), "curve": shared.curve, "similarity": shared.similarity}
    save_json(folder / "shared.json", plain)


def load_shared(folder: Path) -> SharedPrompt:
    """Reads what `save_shared` wrote."""
    tensors = load_file(folder / "shared.safetensors")
    plain = json.loads((folder / "shared.json").read_text(encoding="utf-8"))
    heads = {task: (tensors[f"weight.{task}"], tensors[f"bias.{task}"]) for task in plain["tasks"]}
    own = {task: tensors[f"own.{task}"] for task in plain["tasks"] if f"own.{task}" in tensors}
    factors = {task: (tensors[f"u.{task}"], tensors[f"v.{task}"]) for task in plain["tasks"] if f"u.{task}" in tensors}
    curve = [(int(step), float(loss)) for step, loss in plain["curve"]]
    return SharedPrompt(tensors["prompt"], heads, curve, own, factors, plain.get("similarity", {}))


def save_trained(folder: Path, trained: Sequence[Trained]) -> None:
    """Writes every candidate at its best to `folder`."""
    tensors: dict[str, Tensor] = {}
    plain = []
    for n, one in enumerate(trained):
        tensors |= {f"{n}.prompt": one.prompt, f"{n}.weight": one.weight, f"{n}.bias": one.bias}
        scores = {"score": one.score, "loss": one.loss, "step": one.step, "curve": one.curve, "cut": one.cut}
        scores["layout"] = one.layout
        plain.append({"candidate": asdict(one.candidate), **scores})
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "trained.safetensors")
    save_json(folder / "trained.json", plain)


def load_trained(folder: Path) -> list[Trained]:
    """Reads what `save_trained` wrote."""
    tensors = load_file(folder / "trained.safetensors")
    plain = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
    return [
        Trained(
            candidate=Candidate(**one["candidate"]),
            score=one["score"],
            loss=one["loss"],
            step=one["step"],
            curve=tuple((int(step), float(value), float(loss)) for step, value, loss in one["curve"]),
            prompt=tensors[f"{n}.prompt"],
            weight=tensors[f"{n}.weight"],
            bias=tensors[f"{n}.bias"],
            cut=one["cut"],
            layout=one.get("layout"),
        )
        for n, one in enumerate(plain)
    ]
