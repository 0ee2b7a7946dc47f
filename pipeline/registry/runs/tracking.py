"""A finished run in MLflow: a parent run, a child per task. Only the driver logs, once, when the figures are known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.registry.versions.lookup import TAG, all_pages
from pipeline.registry.versions.store import PromptRegistry

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_KEY = TAG + "run_key"
_METRICS_AT_ONCE = 1000
_PARAMS_AT_ONCE = 100
_PARAM_LENGTH = 6000

Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class TaskRecord:
    """What is logged of one task, in a child run.

    Args:
        task: its name.
        params: settings, by name. metrics: final figures. curves: metric → (step, value).
        files: figures and folders that go to the run's artifacts.
    """

    task: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    files: Sequence[Path] = ()


@dataclass(frozen=True)
class RunRecord:
    """What is logged of a whole run, in the parent run.

    Args:
        key: the same for the same run, so that it is logged once: a fingerprint.
        name: what people call it.
        params, metrics, curves, files: as in `TaskRecord`.
        tasks: the children.
    """

    key: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    files: Sequence[Path] = ()
    tasks: Sequence[TaskRecord] = ()


@dataclass(frozen=True)
class LoggedRun:
    """Run ids: the parent's, and each task's."""

    run_id: str
    tasks: Mapping[str, str]


def log_run(registry: PromptRegistry, record: RunRecord) -> LoggedRun:
    """Logs a run with its tasks; what was logged before is found again by its key and not touched.

    A run that an interruption left unfinished is deleted and logged anew.

    Raises:
        InputError: MLflow does not answer or refuses; a file to log is missing.
    """
    parts: list[RunRecord | TaskRecord] = [record, *record.tasks]
    missing = [path for part in parts for path in part.files if not path.exists()]
    if missing:
        raise InputError("a file to log is missing", where=str(missing[0]))
    with registry.connection.open() as client:
        experiment = registry.experiment(client)
        parent = _once(client, experiment, record.key, record.name, {}, record)
        children = {
            task.task: _once(
                client,
                experiment,
                f"{record.key}/{task.task}",
                f"{record.name}/{task.task}",
                {"mlflow.parentRunId": parent, "task": task.task},
                task,
            )
            for task in record.tasks
        }
    return LoggedRun(parent, children)


def attach(registry: PromptRegistry, run_id: str, file: Path) -> None:
    """Adds a file to a logged run, in place of an earlier one of its name.

    Raises:
        InputError: MLflow does not answer or refuses.
    """
    with registry.connection.open() as client:
        client.log_artifact(run_id, str(file))


def _once(
    client: MlflowClient,
    experiment: str,
    key: str,
    name: str,
    tags: Mapping[str, str],
    record: RunRecord | TaskRecord,
) -> str:
    """The id of the finished run with this key, written now if there is none."""
    from mlflow.entities import Run

    found: list[Run] = all_pages(
        client.search_runs, experiment_ids=[experiment], filter_string=f"tags.`{RUN_KEY}` = '{key}'"
    )
    finished = [run for run in found if run.info.status == "FINISHED"]
    if finished:
        return str(finished[0].info.run_id)
    for run in found:
        client.delete_run(run.info.run_id)
    run_id = str(client.create_run(experiment, tags={**tags, RUN_KEY: key}, run_name=name).info.run_id)
    _write(client, run_id, record)
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _write(client: MlflowClient, run_id: str, record: RunRecord | TaskRecord) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    metrics = [Metric(name, float(value), now, 0) for name, value in record.metrics.items()]
    for name, curve in record.curves.items():
        metrics += [Metric(name, float(value), now, int(step)) for step, value in curve]
    for some in _chunks(metrics, _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=some)
    params = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in record.params.items()]
    for few in _chunks(params, _PARAMS_AT_ONCE):
        client.log_batch(run_id, params=few)
    for path in record.files:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), artifact_path=path.name)
        else:
            client.log_artifact(run_id, str(path))


def _chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
