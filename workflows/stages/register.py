"""The last stage: the run in MLflow, every prompt in the registry. Only the driver does this, once, after all scores.

A task's `champion` is its best single prompt; its ensemble and its distilled prompt have aliases of their own, named as
their folders are. An alias moves through the gate (`stages/gate.py`): never to something worse, and never silently.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.registry import SHARED_PROMPT, LoggedRun, PromptRegistry, RunRecord, TaskRecord, attach, log_run
from pipeline.registry.versions.lookup import CHAMPION
from pipeline.registry.versions.notes import note_run, note_version
from pipeline.training.results import SHARED_FILES, load_shared, load_trained
from pipeline.training.world import save_json
from workflows.stages.artifacts import ENSEMBLE, WINNER
from workflows.stages.follows import FOLLOWS, follows
from workflows.stages.gate import Answering, Contender, Gate
from workflows.stages.graph import RunGraph
from workflows.stages.payloads import DISTILLED
from workflows.stages.stage import begin, commit, read_record, standing
from workflows.stages.verdicts import carry_out
from workflows.summary import TaskRow

OnEvent = Callable[[Mapping[str, Any]], None]
ALIASES = {WINNER: CHAMPION, ENSEMBLE: ENSEMBLE, DISTILLED: DISTILLED}
"""A prompt's folder inside its task's evaluate stage → the alias that it is a contender for."""


@dataclass(frozen=True)
class Errand:
    """What a run is done for, beside itself.

    Args:
        marks: notes for each version, and for the run of each task that got through the gate, whatever the verdict.
        may: raises unless aliases may be moved; asked before each task's.
    """

    marks: Mapping[str, str] = field(default_factory=dict)
    may: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Registration:
    """What registering came to: task → the version of its winner, and the run in MLflow; `new` unless it was skipped.

    Args:
        gate: task → the gate's verdict on its winner, plain. failed: task → why its gate could not be passed.
    """

    versions: Mapping[str, str]
    run_id: str
    new: bool
    gate: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def register(
    graph: RunGraph,
    rows: Sequence[TaskRow],
    answering: Answering,
    on_event: OnEvent,
    errand: Errand | None = None,
) -> Registration:
    """Logs the run and registers the scored tasks; what was registered before is found, not repeated.

    Args:
        rows: the scored tasks.
        answering: takes the gate's comparisons to the workers.
        errand: what the run is done for, if for something.

    Raises:
        InputError: MLflow does not answer or refuses.
    """
    stage = graph.register_stage([row.task for row in rows])
    found = standing(graph.folder, stage)
    record = read_record(stage.folder(graph.folder) / "stage.json")
    if found.skipped and record is not None:
        on_event({"stage": "register", "note": f"skipped: {found.reason}"})
        return Registration(**record["summary"], new=False)
    errand = errand or Errand()
    began = time.monotonic()
    folder = begin(graph.folder, stage)
    settings = graph.config.registry
    registry = PromptRegistry(settings.uri, settings.prefix)
    total = len(rows) + 1
    on_event({"stage": "register", "done": 0, "total": total, "note": registry.uri})
    logged = log_run(registry, _run_record(graph, rows, stage.fingerprint))
    if "pretrain" in graph.stages:
        _register_shared(graph, registry, logged.run_id)
    contenders: list[Contender] = []
    present = {alias: registry.aliases(alias) for alias in ALIASES.values()}
    for done, row in enumerate(rows, start=1):
        contenders += _register_task(graph, registry, row.task, logged, present)
        on_event({"stage": "register", "task": None, "done": done, "total": total, "note": row.task})
    verdicts, failed = Gate(graph, registry, answering, folder / "champions").judge(contenders)
    gate: dict[str, Any] = {}
    for row in rows:
        own = [verdict for verdict in verdicts if verdict.task == row.task]
        if row.task in failed:
            continue
        errand.may()
        notes = {FOLLOWS: json.dumps(follows(graph, row.task)), **errand.marks}
        try:
            carry_out(registry, own, notes, reason=f"gate of {graph.config.name}")
        except InputError as problem:  # another promoter was faster: the other tasks are not concerned
            failed[row.task] = problem.message
            continue
        save_json(folder / "gate.json", [verdict.as_json() for verdict in own])
        attach(registry, logged.tasks[row.task], folder / "gate.json")
        note_run(registry, logged.tasks[row.task], errand.marks)
        (folder / "gate.json").unlink()  # it is with the task's run now; the next task's has the same name
        gate[row.task] = next(verdict.as_json() for verdict in own if verdict.alias == CHAMPION)
    versions = {one.task: str(one.version) for one in contenders if one.alias == CHAMPION}
    if not failed:  # else the same command tries their gate again
        shutil.rmtree(folder / "champions", ignore_errors=True)
        told = {"versions": versions, "run_id": logged.run_id, "gate": gate}
        commit(graph.folder, stage, told, time.monotonic() - began)
    on_event({"stage": "register", "done": total, "total": total, "note": registry.uri})
    return Registration(versions, logged.run_id, True, gate, {task: f"gate: {why}" for task, why in failed.items()})


def attach_report(graph: RunGraph, registration: Registration, report: Path) -> None:
    """Puts the report beside the run's figures in MLflow; it shows the versions, so it is written after registering."""
    settings = graph.config.registry
    attach(PromptRegistry(settings.uri, settings.prefix), registration.run_id, report)


def _register_shared(graph: RunGraph, registry: PromptRegistry, run_id: str) -> None:
    """The shared prompt is what the next adaptation starts from: the newest one, which no task uses by itself."""
    folder = graph.stages["pretrain"].folder(graph.folder)
    for name in SHARED_FILES:
        attach(registry, run_id, folder / name)  # the heads of the source tasks, which the artifact has no place for
    made = registry.register(folder / WINNER, run_id=run_id, alias=None)
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SHARED_FILES}
    note_version(registry, SHARED_PROMPT, made.version, {"files": json.dumps(sums), "files_run": run_id})
    if registry.aliases(CHAMPION).get(SHARED_PROMPT) != made.version:
        registry.promote(SHARED_PROMPT, made.version, reason=f"pretrained by {graph.config.name}")


def _register_task(
    graph: RunGraph,
    registry: PromptRegistry,
    task: str,
    logged: LoggedRun,
    present: Mapping[str, Mapping[str, int]],
) -> list[Contender]:
    """Registers what a task has; no alias moves yet. `present`: alias → task → where it points."""
    stage = graph.stages[f"evaluate/{task}"].folder(graph.folder)
    contenders = []
    for folder, alias in ALIASES.items():
        if not (stage / folder).is_dir():
            continue
        made = registry.register(stage / folder, run_id=logged.tasks[task], alias=None)
        contenders.append(Contender(task, alias, stage / folder, made.version, present[alias].get(task)))
    return contenders


def _run_record(graph: RunGraph, rows: Sequence[TaskRow], key: str) -> RunRecord:
    config = graph.config
    pretrain = graph.stages.get("pretrain")
    curves = {"pretrain_loss": load_shared(pretrain.folder(graph.folder)).curve} if pretrain is not None else {}
    return RunRecord(
        key=key,
        name=config.name,
        params=_flat(config.model_dump(mode="json", exclude={"tasks", "compare"}))
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
