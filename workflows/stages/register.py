"""The last stage: the run in MLflow, every prompt in the registry. Only the driver does this, once, after all scores.

A task's `champion` is its best single prompt; its ensemble and its distilled prompt have aliases of their own, named as
their folders are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.registry import LoggedRun, PromptRegistry, RunRecord, TaskRecord, attach, log_run
from pipeline.training.results import load_shared, load_trained
from workflows.stages.artifacts import ENSEMBLE, WINNER
from workflows.stages.graph import RunGraph
from workflows.stages.payloads import DISTILLED
from workflows.stages.stage import begin, commit, read_record, standing
from workflows.summary import TaskRow

OnEvent = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Registration:
    """What registering came to: task → the version of its champion, and the run in MLflow; `new` unless it was
    skipped."""

    versions: Mapping[str, str]
    run_id: str
    new: bool


def register(graph: RunGraph, rows: Sequence[TaskRow], on_event: OnEvent) -> Registration:
    """Logs the run and registers the scored tasks; what was registered before is found, not repeated.

    Args:
        rows: the scored tasks.

    Raises:
        InputError: MLflow does not answer or refuses.
    """
    stage = graph.register_stage([row.task for row in rows])
    found = standing(graph.folder, stage)
    record = read_record(stage.folder(graph.folder) / "stage.json")
    if found.skipped and record is not None:
        on_event({"stage": "register", "note": f"skipped: {found.reason}"})
        return Registration(**record["summary"], new=False)
    began = time.monotonic()
    begin(graph.folder, stage)
    settings = graph.config.registry
    registry = PromptRegistry(settings.uri, settings.prefix)
    total = len(rows) + 1
    on_event({"stage": "register", "done": 0, "total": total, "note": registry.uri})
    logged = log_run(registry, _run_record(graph, rows, stage.fingerprint))
    if "pretrain" in graph.stages:
        registry.register(graph.stages["pretrain"].folder(graph.folder) / WINNER, run_id=logged.run_id)
    versions = {}
    for done, row in enumerate(rows, start=1):
        versions[row.task] = _register_task(graph, registry, row.task, logged)
        on_event({"stage": "register", "task": None, "done": done, "total": total, "note": row.task})
    commit(graph.folder, stage, {"versions": versions, "run_id": logged.run_id}, time.monotonic() - began)
    on_event({"stage": "register", "done": total, "total": total, "note": registry.uri})
    return Registration(versions, logged.run_id, new=True)


def attach_report(graph: RunGraph, registration: Registration, report: Path) -> None:
    """Puts the report beside the run's figures in MLflow; it shows the versions, so it is written after registering."""
    settings = graph.config.registry
    attach(PromptRegistry(settings.uri, settings.prefix), registration.run_id, report)


def _register_task(graph: RunGraph, registry: PromptRegistry, task: str, logged: LoggedRun) -> str:
    folder = graph.stages[f"evaluate/{task}"].folder(graph.folder)
    run_id = logged.tasks[task]
    champion = registry.register(folder / WINNER, run_id=run_id)
    for beside in (ENSEMBLE, DISTILLED):
        if (folder / beside).is_dir():
            registry.register(folder / beside, run_id=run_id, alias=beside)
    return str(champion.version)


def _run_record(graph: RunGraph, rows: Sequence[TaskRow], key: str) -> RunRecord:
    config = graph.config
    pretrain = graph.stages.get("pretrain")
    curves = {"pretrain_loss": load_shared(pretrain.folder(graph.folder)).curve} if pretrain is not None else {}
    return RunRecord(
        key=key,
        name=config.name,
        params=_flat(config.model_dump(mode="json", exclude={"tasks"}))
        | {
            "backbone.fingerprint": graph.info.fingerprint,
            "backbone.dtype.used": graph.dtype,
            "tasks": ", ".join(graph.tasks),
        },
        metrics={f"test.{row.task}": row.test for row in rows},
        curves=curves,
        tasks=[_task_record(graph, row) for row in rows],
    )


def _task_record(graph: RunGraph, row: TaskRow) -> TaskRecord:
    trained = load_trained(graph.stages[f"adapt/{row.task}"].folder(graph.folder))
    evaluated = graph.stages[f"evaluate/{row.task}"].folder(graph.folder)
    metrics = {"dev": row.dev, "test": row.test}
    for name in ("from_scratch_test", "ensemble_test"):
        value = getattr(row, name)
        if value is not None:
            metrics[name] = value
    params: dict[str, Any] = {
        "metric": row.metric,
        "start": row.start,
        "length": row.length,
        "learning_rate": row.learning_rate,
        "train_rows": row.train_rows,
        "held_out": row.held_out,
        **{f"data.{split}": value for split, value in graph.tasks[row.task].fingerprints.items()},
    }
    return TaskRecord(
        task=row.task,
        params=params,
        metrics=metrics,
        curves={f"dev.{one.candidate.name}": [(step, value) for step, value, _ in one.curve] for one in trained},
        files=[evaluated / "scores.json", evaluated / WINNER],
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat
