"""What a task's prompts follow from, part by part: noted on every version, so that a later run can say what changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from workflows.stages.code import code_version
from workflows.stages.graph import RunGraph

FOLLOWS = "follows"
"""The note on a version that holds them."""


def follows(graph: RunGraph, task: str) -> dict[str, str]:
    """The fingerprint of each part, by its name as users read it.

    The shared prompt is none of them: it is trained again when the task set or the backbone changes, and then all tasks
    are adapted anew.
    """
    config, own = graph.config, graph.tasks[task]
    apart = {"workers", "tasks", "room", "checkpoint_every"}  # as in the adapt stage; the winner's choice counts too
    adapt = config.adapt_for(task).model_dump(mode="json", exclude=apart)
    spec = own.spec
    parts: dict[str, Any] = {
        **{f"data ({split})": sha256 for split, sha256 in own.fingerprints.items()},
        "backbone": graph.info.fingerprint,
        "code": code_version(),
        "config (task)": [spec.type, own.metric, spec.max_tokens, spec.too_long],
        "config (adapt)": [adapt, list(graph.first_layers(task)), config.pretrain is not None],
        "config (prompt)": graph.prompt,
        "config (ensemble)": config.ensemble.model_dump(mode="json") if config.ensemble is not None else None,
        "config (backbone, seed)": [graph.dtype, graph.pooling, config.seed],
    }
    return {name: _short(value) for name, value in parts.items()}


def changed_parts(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The parts that differ, in the order of the present ones."""
    return [name for name in {**now, **before} if before.get(name) != now.get(name)]


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
