"""What a run came to, read from its stages: a row per task, and what pretraining bought, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from workflows.stages.graph import RunGraph
from workflows.stages.stage import read_record


@dataclass(frozen=True)
class Spread:
    """Mean and deviation over the seeds of one cell of the search."""

    mean: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class TaskRow:
    """One task of the final table.

    Args:
        metric: what the scores are. start, length, first_layer, learning_rate: the winner's, chosen on dev.
        layers: of the backbone. dev, test: the winner's scores.
        from_scratch_test: the test score of the best candidate (on dev) that started from scratch.
        ensemble_test: the ensemble's. distilled_test: that of the prompt that was taught to answer as the ensemble.
        version: in the registry.
        shared, scratch: test scores over all seeds of each start's best cell (on mean dev).
        train_rows: how many rows it learnt from. held_out: whether pretraining never saw the task.
        gate: what was decided about promoting it, in words; None where nothing was.
        deep: whether its prompt stands in layers, or else among the input embeddings.
    """

    task: str
    metric: str
    start: str
    length: int
    first_layer: int
    layers: int
    learning_rate: float
    dev: float
    test: float
    from_scratch_test: float | None
    ensemble_test: float | None
    distilled_test: float | None
    version: str | None
    shared: Spread | None
    scratch: Spread | None
    train_rows: int
    held_out: bool
    gate: str | None = None
    deep: bool = True


@dataclass(frozen=True)
class RunSummary:
    """A run's results.

    Args:
        name: the run's. folder: where it is. rows: one per task that was scored. failed: task → why.
        seconds: this invocation's. stage_seconds: each stage's own. report: the report's path. registry: its URI.
        gate: task → the gate's verdict on its winner, plain.
    """

    name: str
    folder: str
    rows: tuple[TaskRow, ...]
    failed: Mapping[str, str]
    seconds: float
    stage_seconds: Mapping[str, float]
    registry: str
    prefix: str
    report: str | None = None
    notes: tuple[str, ...] = field(default=())
    gate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some tasks failed and the rest are done, 1 all failed."""
        if not self.failed:
            return 0
        return 3 if self.rows else 1

    def with_report(self, path: Path) -> RunSummary:
        return replace(self, report=str(path))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "exit_code": self.exit_code}


def task_rows(graph: RunGraph, failures: Mapping[str, str]) -> list[TaskRow]:
    """The scored tasks, from their evaluate stages."""
    rows = []
    for name in graph.config.adapt_tasks:
        scores = read_record(graph.stages[f"evaluate/{name}"].folder(graph.folder) / "scores.json")
        if scores is not None and name not in failures:
            rows.append(_row(graph, name, scores))
    return rows


def summarise(
    graph: RunGraph,
    rows: Sequence[TaskRow],
    failures: Mapping[str, str],
    versions: Mapping[str, str],
    seconds: float,
) -> RunSummary:
    """A run's results, with the versions its tasks have in the registry."""
    return RunSummary(
        name=graph.config.name,
        folder=str(graph.folder),
        rows=tuple(replace(row, version=versions.get(row.task)) for row in rows),
        failed=dict(failures),
        seconds=round(seconds, 1),
        stage_seconds=_stage_seconds(graph),
        registry=graph.config.registry.uri,
        prefix=graph.config.registry.prefix,
        notes=tuple(f"{name}: {note}" for name, task in graph.tasks.items() for note in task.notes),
    )


def _row(graph: RunGraph, name: str, scores: Mapping[str, Any]) -> TaskRow:
    metric, winner = scores["metric"], scores["winner"]

    def test(entry: Mapping[str, Any] | None) -> float | None:
        return None if entry is None else float(entry["test"][metric])

    def spread(cell: list[Mapping[str, Any]]) -> Spread | None:
        values = [float(one["test"][metric]) for one in cell]
        return Spread(mean(values), pstdev(values), len(values)) if values else None

    return TaskRow(
        task=name,
        metric=metric,
        start=winner["start"],
        length=winner["length"],
        first_layer=winner["first_layer"],
        layers=len(graph.info.standing),
        learning_rate=winner["learning_rate"],
        dev=winner["dev"],
        test=float(winner["test"][metric]),
        from_scratch_test=test(scores["from_scratch"]),
        ensemble_test=test(scores["ensemble"]),
        distilled_test=test(scores.get("distilled")),
        version=None,
        shared=spread(scores["cells"]["shared"]),
        scratch=spread(scores["cells"]["scratch"]),
        train_rows=len(graph.tasks[name].splits["train"]),
        held_out=name not in graph.config.pretrain_tasks,
        gate=scores.get("gate"),
        deep=graph.config.prompt.deep,
    )


def _stage_seconds(graph: RunGraph) -> dict[str, float]:
    records = {name: read_record(stage.folder(graph.folder) / "stage.json") for name, stage in graph.stages.items()}
    return {name: float(record["seconds"]) for name, record in records.items() if record is not None}
