"""What the report says, as plain data for the template: read from the run's graph, its summary and its stages'
files."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import yaml

import pipeline
from workflows.report.charts import Search, curve_chart, gain_rows, length_chart, lengths_tried, loss_chart
from workflows.report.depths import depth_table, depths_tried
from workflows.report.gains import gains, mean_difference
from workflows.report.similarity import similarity_table
from workflows.stages.graph import RunGraph, code_version
from workflows.stages.stage import Status, read_record, standing
from workflows.summary import RunSummary

PACKAGES = ("torch", "transformers", "datasets", "ray", "deepspeed", "mlflow")
_SIDE_BY_SIDE = ("adapt", "ensemble", "evaluate")
_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")
_TOKEN = re.compile(r"(?i)([?&][^=&\s]*(?:password|token|secret|key)[^=&\s]*=)[^&\s]+")


@dataclass(frozen=True)
class Cost:
    """What one task adds to the backbone: numbers of its prompt and of its head, all fp32."""

    task: str
    prompt: int
    head: int

    @property
    def parameters(self) -> int:
        return self.prompt + self.head

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * self.parameters


def report_view(graph: RunGraph, summary: RunSummary) -> dict[str, Any]:
    """Everything that the template shows."""
    info = graph.info
    searches = [search for task in graph.config.adapt_tasks if (search := _search(graph, summary, task)) is not None]
    found = gains(summary)
    pretrained = _done(graph, "pretrain", "shared.json") or {}
    curve = pretrained.get("curve")
    return {
        "summary": summary,
        "graph": graph,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "version": pipeline.__version__,
        "types": {name: task.spec.type for name, task in graph.tasks.items()},
        "rows_of": {
            name: {split: len(rows) for split, rows in task.splits.items()} for name, task in graph.tasks.items()
        },
        "registry": without_passwords(summary.registry),
        "gains": found,
        "gain_chart": gain_rows(found) if found else None,
        "transfer": mean_difference([gain for gain in found if gain.held_out]),
        "transfer_tasks": sum(gain.held_out for gain in found),
        "ensembles": _ensembles(graph, summary),
        "loss_chart": loss_chart(curve) if curve else None,
        "curves": [(search, curve_chart(search)) for search in searches],
        "lengths": [(search, length_chart(search)) for search in searches if lengths_tried(search) > 1],
        "depths": [(one, depth_table(one, graph.info.layers)) for one in searches if depths_tried(one) > 1],
        "halved": any(entry["cut"] is not None for search in searches for entry in search.candidates),
        "searched": _searched_layers(graph),
        "similarity": similarity_table(pretrained.get("similarity") or {}, graph),
        "shared_numbers": math.prod(
            info.prompt_shape(graph.config.prompt.length, graph.first_layer, graph.config.prompt.deep)
        ),
        "efforts": _efforts(graph),
        "costs": _costs(graph, summary),
        "rooms": _rooms(summary.stage_seconds),
        "stages": _stages(graph, summary),
        "shared_fingerprint": (_done(graph, "pretrain", "artifact/manifest.json") or {}).get("fingerprint"),
        "config_text": _config(graph),
        "code": code_version(),
        "machine": _machine(),
        "packages": dict(_versions(PACKAGES)),
    }


def _search(graph: RunGraph, summary: RunSummary, task: str) -> Search | None:
    """What a task's adapt stage left, if it is done with its present inputs."""
    trained = _done(graph, f"adapt/{task}", "trained.json")
    if not trained:
        return None
    scores = _done(graph, f"evaluate/{task}", "scores.json")
    winner = scores["winner"]["number"] if scores and task not in summary.failed else None
    return Search(task, graph.tasks[task].metric, trained, winner)


def _ensembles(graph: RunGraph, summary: RunSummary) -> list[dict[str, Any]]:
    """Each task's ensemble beside its winner; one that is nothing but the winner is left out."""
    rows = []
    for row in summary.rows:
        scores = _done(graph, f"evaluate/{row.task}", "scores.json") or {}
        ensemble = scores.get("ensemble")
        if ensemble and {*ensemble["members"]} != {scores["winner"]["number"]} and row.ensemble_test is not None:
            rows.append(
                {
                    "row": row,
                    "members": len(ensemble["members"]),
                    "prompts": len({*ensemble["members"]}),
                    "combine": ensemble["combine"],
                    "dev": ensemble["dev"],
                }
            )
    return rows


def _costs(graph: RunGraph, summary: RunSummary) -> list[Cost]:
    info = graph.info
    return [
        Cost(
            row.task,
            math.prod(info.prompt_shape(row.length, row.first_layer, graph.config.prompt.deep)),
            (info.width + 1) * len(graph.tasks[row.task].labels),
        )
        for row in summary.rows
    ]


def _searched_layers(graph: RunGraph) -> str:
    """Every layer at which some task's search lets a prompt begin: 0, 3 or 5."""
    layers = sorted({layer for task in graph.config.adapt_tasks for layer in graph.first_layers(task)})
    return " or ".join(filter(None, [", ".join(map(str, layers[:-1])), str(layers[-1])]))


def _efforts(graph: RunGraph) -> list[dict[str, Any]]:
    """What adaptation told of its batches and of the trunk cache: tasks of which it told the same stand together."""
    told: dict[tuple[float | None, str | None], list[str]] = {}
    for task in graph.config.adapt_tasks:
        summary = (_done(graph, f"adapt/{task}", "stage.json") or {}).get("summary", {})
        padding, trunk = summary.get("padding"), summary.get("trunk") or None
        if padding is not None or trunk is not None:
            told.setdefault((padding, trunk), []).append(task)
    return [{"tasks": tasks, "padding": padding, "trunk": trunk} for (padding, trunk), tasks in told.items()]


def _rooms(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Seconds per kind of stage. Of tasks worked on side by side each one's clock runs from the common start, so the
    last one's is the room's; the others follow each other."""
    rooms: dict[str, list[float]] = {}
    for name, value in seconds.items():
        rooms.setdefault(name.split("/")[0], []).append(value)
    return [
        {"name": name, "stages": len(each), "seconds": max(each) if name in _SIDE_BY_SIDE else sum(each)}
        for name, each in rooms.items()
    ]


def _stages(graph: RunGraph, summary: RunSummary) -> list[dict[str, Any]]:
    """Every stage with where it stands; the ones that are done with when and under which fingerprint."""
    # What is registered are the tasks that were scored, which need not be all of the config's.
    register = graph.register_stage([row.task for row in summary.rows])
    rows = []
    for name, stage in {**graph.stages, "register": register}.items():
        status = standing(graph.folder, stage).status
        record = read_record(stage.folder(graph.folder) / "stage.json") if status is Status.DONE else None
        rows.append({"name": name, "status": status.value, "fingerprint": stage.fingerprint, **(record or {})})
    return rows


def _done(graph: RunGraph, stage: str, file: str) -> Any:
    """A JSON file of a stage that is done with its present inputs; else None. What earlier inputs led to is not
    told."""
    known = graph.stages.get(stage)
    if known is None or standing(graph.folder, known).status is not Status.DONE:
        return None
    try:
        return json.loads((known.folder(graph.folder) / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _config(graph: RunGraph) -> str:
    """The config as a file that runs again, with nothing left to defaults and without passwords."""
    plain = graph.config.model_dump(mode="json")
    plain["registry"]["uri"] = without_passwords(plain["registry"]["uri"])
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100))


def _machine() -> dict[str, str]:
    import torch

    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "processors": f"{os.cpu_count()} × {platform.machine()}",
        "accelerators": ", ".join(devices) or "none",
        "python": platform.python_version(),
    }


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    for package in packages:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, "not installed"


def without_passwords(uri: str) -> str:
    """A URI that may be sent around: stars for user name, password and secret parameters."""
    return _TOKEN.sub(r"\1***", _PASSWORD.sub("***@", uri))
