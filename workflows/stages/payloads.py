"""What each stage's worker is told: plain data, made from the run's graph, absolute paths only."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.tasks import Mixture, PreparedTask
from workflows.stages.graph import RunGraph


def backbone_payload(graph: RunGraph) -> dict[str, Any]:
    """How a worker finds the backbone: the folder of a local one, so that workers may start anywhere."""
    model = graph.config.backbone.model
    local = graph.info.revision == "local" and Path(model).expanduser().is_dir()
    return {
        "model": str(graph.info.folder) if local else model,
        "revision": graph.config.backbone.revision,
        "dtype": graph.dtype,
    }


def replica_payload(graph: RunGraph) -> dict[str, Any]:
    """What a worker that adapts, ensembles and evaluates needs once."""
    return {"backbone": backbone_payload(graph), "first_layer": graph.first_layer, "pooling": graph.pooling}


def pretrain_payload(graph: RunGraph, out: Path, sharding: str, rows: int) -> dict[str, Any]:
    """Pretraining on one rank; `rows` of each step over all ranks, see `pretrain_rows`."""
    config = graph.config
    assert config.pretrain is not None
    folders = {name: str(_prepared(graph, name)) for name in config.pretrain_tasks}
    return {
        "backbone": backbone_payload(graph),
        "sharding": sharding,
        "tasks": folders,
        "out": str(out),
        "settings": {
            "steps": config.pretrain.steps,
            "rows": rows,
            "learning_rate": config.pretrain.learning_rate,
            "warmup": config.pretrain.warmup,
            "exponent": config.pretrain.mixing.exponent,
            "cap": config.pretrain.mixing.cap,
            "seed": config.seed,
            "length": config.prompt.length,
            "init": config.prompt.init,
            "first_layer": graph.first_layer,
            "pooling": graph.pooling,
            "checkpoint_every": config.pretrain.checkpoint_every,
        },
    }


def pretrain_rows(graph: RunGraph) -> int:
    """Rows of a pretraining step: as configured, or as many as hold about `batch_tokens` tokens.

    A number for the whole run, not for each step, so that every step's batch stays a function of the seed and the step.
    """
    settings = graph.config.pretrain
    assert settings is not None
    if settings.batch_rows is not None:
        return settings.batch_rows
    assert settings.batch_tokens is not None
    tasks = {name: PreparedTask.load(_prepared(graph, name)) for name in graph.config.pretrain_tasks}
    sizes = {name: len(task.encoded["train"]) for name, task in tasks.items()}
    rates = Mixture(sizes, settings.mixing.exponent, settings.mixing.cap, graph.config.seed).rates
    mean = sum(rate * float(np.mean(tasks[name].encoded["train"].lengths)) for name, rate in rates.items())
    return max(1, round(settings.batch_tokens / mean))


def adapt_payload(graph: RunGraph, task: str, out: Path) -> dict[str, Any]:
    """Training the cohort of a task."""
    settings = graph.config.adapt_for(task)
    return {
        "task": str(_prepared(graph, task)),
        "shared": str(graph.stages["pretrain"].folder(graph.folder)) if "pretrain" in graph.stages else None,
        "init": graph.config.prompt.init,
        "candidates": [asdict(candidate) for candidate in graph.candidates(task)],
        "settings": {
            "steps": settings.steps,
            "rows": settings.batch_rows,
            "warmup": settings.warmup,
            "evaluate_every": settings.evaluate_every,
            "patience": settings.patience,
            "seed": graph.config.seed,
        },
        "out": str(out),
    }


def ensemble_payload(graph: RunGraph, task: str, out: Path) -> dict[str, Any]:
    """Choosing the ensemble of a task."""
    assert graph.config.ensemble is not None
    return {**_trained(graph, task), "size": graph.config.ensemble.size, "out": str(out)}


def evaluate_payload(graph: RunGraph, task: str, out: Path) -> dict[str, Any]:
    """Scoring a task on test."""
    from workflows.stages.stage import read_record

    ensemble = graph.stages.get(f"ensemble/{task}")
    chosen = read_record(ensemble.folder(graph.folder) / "ensemble.json") if ensemble is not None else None
    return {**_trained(graph, task), "ensemble": chosen, "out": str(out)}


def _trained(graph: RunGraph, task: str) -> dict[str, Any]:
    adapt = graph.stages[f"adapt/{task}"]
    return {"task": str(_prepared(graph, task)), "trained": str(adapt.folder(graph.folder))}


def _prepared(graph: RunGraph, task: str) -> Path:
    return graph.stages[f"prepare/{task}"].folder(graph.folder)
