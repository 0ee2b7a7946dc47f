"""What of a run is there, stage by stage, what is missing, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.stages.graph import RunGraph
from workflows.stages.stage import Stage, Status, read_record, standing
from workflows.summary import RunSummary

_SIDE_BY_SIDE = ("adapt", "ensemble", "evaluate")


@dataclass(frozen=True)
class Missing:
    """The first stage on a task's way that is not done.

    Args:
        tasks: all that wait for it, or stand there for the same reason; none for the registration.
        room: the kind of stage. status, reason: as `deepprompt status` tells them.
    """

    room: str
    tasks: tuple[str, ...]
    status: str
    reason: str


def missing(graph: RunGraph, failed: Iterable[str] = ()) -> list[Missing]:
    """What keeps the run from being complete; nothing, if it is.

    Args:
        failed: tasks of which is told elsewhere.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    told = {*failed}
    for task in (task for task in graph.config.adapt_tasks if task not in told):
        for stage in _way(graph, task):
            where = standing(graph.folder, stage)
            if not where.skipped:
                found.setdefault((stage.room, where.status.value, where.reason), []).append(task)
                break
    if not found and not told:
        register = graph.stages["register"]
        where = standing(graph.folder, register)
        if not where.skipped:
            found[register.room, where.status.value, where.reason] = []
    return [Missing(room, tuple(tasks), status, reason) for (room, status, reason), tasks in found.items()]


def _way(graph: RunGraph, task: str) -> list[Stage]:
    """The stages a task goes through, in order; a changed input far up is told there, not below."""
    sources = graph.pretrain_stage_tasks if "pretrain" in graph.stages else ()
    prepared = [f"prepare/{name}" for name in dict.fromkeys([task, *sources])]
    names = [*prepared, "pretrain", *(f"{room}/{task}" for room in _SIDE_BY_SIDE)]
    return [graph.stages[name] for name in names if name in graph.stages]


def done(graph: RunGraph, stage: str, file: str) -> Any:
    """A JSON file of a stage that is done with its present inputs; else None. What earlier inputs led to is not
    told."""
    known = graph.stages.get(stage)
    if known is None or standing(graph.folder, known).status is not Status.DONE:
        return None
    try:
        return json.loads((known.folder(graph.folder) / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def rooms(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Seconds per kind of stage. Of tasks worked on side by side each one's clock runs from the common start, so the
    last one's is the room's; the others follow each other."""
    by_room: dict[str, list[float]] = {}
    for name, value in seconds.items():
        by_room.setdefault(name.split("/")[0], []).append(value)
    return [
        {"name": name, "stages": len(each), "seconds": max(each) if name in _SIDE_BY_SIDE else sum(each)}
        for name, each in by_room.items()
    ]


def every_stage(graph: RunGraph, summary: RunSummary) -> list[dict[str, Any]]:
    """Every stage with where it stands; the ones that are done with when and under which fingerprint."""
    # What is registered are the tasks that were scored, which need not be all of the config's.
    register = graph.register_stage([row.task for row in summary.rows])
    rows = []
    for name, stage in {**graph.stages, "register": register}.items():
        status = standing(graph.folder, stage).status
        record = read_record(stage.folder(graph.folder) / "stage.json") if status is Status.DONE else None
        rows.append({"name": name, "status": status.value, "fingerprint": stage.fingerprint, **(record or {})})
    return rows


def efforts(graph: RunGraph) -> list[dict[str, Any]]:
    """What adaptation told of its batches and of the trunk cache: tasks of which it told the same stand together."""
    told: dict[tuple[float | None, str | None], list[str]] = {}
    for task in graph.config.adapt_tasks:
        summary = (done(graph, f"adapt/{task}", "stage.json") or {}).get("summary", {})
        padding, trunk = summary.get("padding"), summary.get("trunk") or None
        if padding is not None or trunk is not None:
            told.setdefault((padding, trunk), []).append(task)
    return [{"tasks": tasks, "padding": padding, "trunk": trunk} for (padding, trunk), tasks in told.items()]
