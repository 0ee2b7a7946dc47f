"""What each stage's worker is told: plain data, made from the run's graph, absolute paths only."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.tasks import Mixture, PreparedTask
from workflows.stages.cohorts import Cohort, Part
from workflows.stages.graph import RunGraph

DISTILLED = "distilled"
"""The folder, inside an ensemble stage's, of the prompt that learnt to answer as the ensemble."""


def backbone_payload(graph: RunGraph) -> dict[str, Any]:
    """How a worker finds the backbone: the folder of a local one, so that workers may start anywhere."""
    model = graph.config.backbone.model
    local = graph.info.revision == "local" and Path(model).expanduser().is_dir()
    return {
        "model": str(graph.info.folder) if local else model,
        "revision": graph.config.backbone.revision,
        "dtype": graph.dtype,
        "attention": list(graph.info.attention),
        "checkpointing": graph.config.backbone.checkpointing,
    }


def replica_payload(graph: RunGraph) -> dict[str, Any]:
    """What a worker that adapts, ensembles and evaluates needs once."""
    folder, trunk = graph.config.trunk_folder, graph.config.trunk
    return {
        "backbone": backbone_payload(graph),
        "weights": str(graph.config.cache_folder / "weights"),
        "vocabulary": graph.verbal,
        "pooling": graph.pooling,
        "trunk": None if folder is None or trunk is None else {"folder": str(folder), "max_bytes": trunk.max_bytes},
    }


def pretrain_payload(graph: RunGraph, out: Path, sharding: str, rows: int) -> dict[str, Any]:
    """Pretraining on one rank; `rows` of each step over all ranks, see `pretrain_rows`."""
    config = graph.config
    assert config.pretrain is not None
    folders = {name: str(_prepared(graph, name)) for name in graph.pretrain_stage_tasks}
    return {
        "backbone": backbone_payload(graph),
        "sharding": sharding,
        "vocabulary": graph.verbal,
        "tasks": folders,
        "prompt": prompt_payload(graph),
        "out": str(out),
        "settings": {
            "steps": config.pretrain.steps,
            "rows": rows,
            "learning_rate": config.pretrain.learning_rate,
            "warmup": config.pretrain.warmup,
            "head_share": config.pretrain.head_share,
            "exponent": config.pretrain.mixing.exponent,
            "cap": config.pretrain.mixing.cap,
            "seed": config.seed,
            "length": config.prompt.length,
            "init": config.prompt.init,
            "first_layer": graph.first_layer,
            "pooling": graph.pooling,
            "nested": config.pretrain.nested,
            "kind": config.pretrain.kind,
            "distil": config.pretrain.distil,
            "sources": list(config.pretrain_tasks),
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
    tasks = {name: PreparedTask.load(_prepared(graph, name)) for name in graph.pretrain_stage_tasks}
    sizes = {name: len(task.encoded["train"]) for name, task in tasks.items()}
    rates = Mixture(sizes, settings.mixing.exponent, settings.mixing.cap, graph.config.seed).rates
    mean = sum(rate * float(np.mean(tasks[name].encoded["train"].tokens)) for name, rate in rates.items())
    return max(1, round(settings.batch_tokens / mean))


def cohort_payload(graph: RunGraph, cohort: Cohort) -> dict[str, Any]:
    """Training the searches of a cohort together."""
    return {
        "searches": [_search(graph, part) for part in cohort],
        "shared": None if graph.shared_folder is None else str(graph.shared_folder),
        "prompt": prompt_payload(graph),
        "sources": list(graph.config.pretrain_tasks),
        "room": graph.config.adapt.room,
        "checkpoint_every": graph.config.adapt.checkpoint_every,
    }


def prompt_payload(graph: RunGraph) -> dict[str, Any]:
    """How prompts are made and where fresh ones start."""
    prompt = graph.config.prompt
    return {"recipe": asdict(prompt.recipe), "init": prompt.init, "source": prompt.source}


def _search(graph: RunGraph, part: Part) -> dict[str, Any]:
    settings = graph.config.adapt_for(part.task)
    candidates = graph.candidates(part.task)
    return {
        "name": part.task,
        "task": str(_prepared(graph, part.task)),
        "candidates": [asdict(candidates[n]) for n in part.candidates],
        "settings": {
            "steps": settings.steps,
            "rows": settings.batch_rows,
            "warmup": settings.warmup,
            "evaluate_every": settings.evaluate_every,
            "patience": settings.patience,
            "seed": graph.config.seed,
            "halving": settings.halving.factor if settings.halving is not None else 0,
            "head_share": settings.head_share,
        },
        "out": str(part.folder(graph.stages[f"adapt/{part.task}"].partial(graph.folder))),
    }


def ensemble_payload(graph: RunGraph, task: str, out: Path) -> dict[str, Any]:
    """Choosing the ensemble of a task."""
    chosen = graph.config.ensemble
    assert chosen is not None
    settings = graph.config.adapt_for(task)
    distil = {
        "steps": settings.steps,
        "rows": settings.batch_rows,
        "warmup": settings.warmup,
        "evaluate_every": settings.evaluate_every,
        "seed": graph.config.seed,
        "head_share": settings.head_share,
    }
    return {
        **_trained(graph, task),
        "size": chosen.size,
        "distil": distil if chosen.distil else None,
        "out": str(out),
    }


def evaluate_payload(graph: RunGraph, task: str, out: Path) -> dict[str, Any]:
    """Scoring a task on test."""
    from workflows.stages.stage import read_record

    ensemble = graph.stages.get(f"ensemble/{task}")
    folder = ensemble.folder(graph.folder) if ensemble is not None else None
    chosen = read_record(folder / "ensemble.json") if folder is not None else None
    distilled = str(folder / DISTILLED) if folder is not None and (folder / DISTILLED).is_dir() else None
    return {**_trained(graph, task), "ensemble": chosen, "distilled": distilled, "out": str(out)}


def _trained(graph: RunGraph, task: str) -> dict[str, Any]:
    adapt = graph.stages[f"adapt/{task}"]
    return {
        "task": str(_prepared(graph, task)),
        "trained": str(adapt.folder(graph.folder)),
        "tolerance": graph.config.adapt_for(task).tolerance,
    }


def _prepared(graph: RunGraph, task: str) -> Path:
    return graph.stages[f"prepare/{task}"].folder(graph.folder)
