"""What the report says, as plain data for the template: read from the run's graph, its summary and its stages'
files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

import pipeline
from workflows.report.advice import advice
from workflows.report.charts import Search, curve_chart, gain_rows, length_chart, lengths_tried, loss_chart
from workflows.report.depths import depth_table, depths_tried
from workflows.report.drawing import interval_axis
from workflows.report.gains import gains, mean_difference
from workflows.report.leaderboard import contest, leaderboard, score_scale
from workflows.report.lineage import lineage
from workflows.report.origin import now, origin
from workflows.report.progress import done, efforts, every_stage, missing, rooms
from workflows.report.similarity import similarity_table
from workflows.report.sizes import costs
from workflows.report.sources import source
from workflows.stages.code import code_version
from workflows.stages.graph import RunGraph
from workflows.summary import RunSummary

_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")
_TOKEN = re.compile(r"(?i)([?&][^=&\s]*(?:password|token|secret|key)[^=&\s]*=)[^&\s]+")


def report_view(graph: RunGraph, summary: RunSummary) -> dict[str, Any]:
    """Everything that the template shows."""
    standings = leaderboard(graph, summary)
    found = gains(summary)
    lacking = missing(graph, summary.failed)
    scale = score_scale(standings) if standings else None
    return {
        **_run(graph, summary),
        **_training(graph, summary),
        "missing": lacking,
        "complete": not lacking and not summary.failed,
        "leaderboard": standings,
        "contests": [(one, contest(one, scale)) for one in standings] if scale else [],
        "contest_axis": interval_axis(scale) if scale else "",
        "ensembles": [one for one in standings if one.ensemble is not None],
        "gains": found,
        "gain_chart": gain_rows(found) if found else None,
        "gain_ends": {one.row.task: one.gain for one in standings},
        "transfer": mean_difference([gain for gain in found if gain.held_out]),
        "transfer_tasks": [gain.task for gain in found if gain.held_out],
        "costs": costs(graph, summary),
        "copy_size": graph.backbone_bytes,
        "advice": advice(graph, summary, lacking, standings, found),
    }


def _run(graph: RunGraph, summary: RunSummary) -> dict[str, Any]:
    """What ran, on what, for how long, and how to have it again."""
    return {
        "summary": summary,
        "graph": graph,
        "config": graph.config,
        "info": graph.info,
        "pretrained": graph.config.pretrain is not None,
        "written": now(),
        "version": pipeline.__version__,
        "origin": origin(graph),
        "sources": [source(task) for task in graph.tasks.values()],
        "registry": without_passwords(summary.registry),
        "searched": _searched_layers(graph),
        "rooms": rooms(summary.stage_seconds),
        "efforts": efforts(graph),
        "stages": every_stage(graph, summary),
        "lineage": lineage(graph, summary),
        "config_text": _config(graph),
        "code": code_version(),
    }


def _training(graph: RunGraph, summary: RunSummary) -> dict[str, Any]:
    """What training looked like: curves, and scores against length and depth."""
    searches = [search for task in graph.config.adapt_tasks if (search := _search(graph, summary, task)) is not None]
    pretrained = done(graph, "pretrain", "shared.json") or {}
    curve = pretrained.get("curve")
    return {
        "loss_chart": loss_chart(curve) if curve else None,
        "curves": [(search, curve_chart(search)) for search in searches if any(map(_trained, search.candidates))],
        "lengths": [(search, length_chart(search)) for search in searches if lengths_tried(search) > 1],
        "depths": [(one, depth_table(one, len(graph.info.standing))) for one in searches if depths_tried(one) > 1],
        "similarity": similarity_table(pretrained.get("similarity") or {}, graph),
        "halved": any(entry["cut"] is not None for search in searches for entry in search.candidates),
    }


def _trained(entry: Mapping[str, Any]) -> bool:
    """Whether a candidate took a step at all: hard prompts are scored as they are."""
    return any(step for step, *_ in entry["curve"])


def _search(graph: RunGraph, summary: RunSummary, task: str) -> Search | None:
    """What a task's adapt stage left, if it is done with its present inputs."""
    trained = done(graph, f"adapt/{task}", "trained.json")
    if not trained:
        return None
    scores = done(graph, f"evaluate/{task}", "scores.json")
    winner = scores["winner"]["number"] if scores and task not in summary.failed else None
    own = graph.tasks[task]
    return Search(task, own.kind.searched_by(own.metric), trained, winner)


def _searched_layers(graph: RunGraph) -> str:
    """Every layer at which some task's search lets a prompt begin: 0, 3 or 5."""
    layers = sorted({layer for task in graph.config.adapt_tasks for layer in graph.first_layers(task)})
    return " or ".join(filter(None, [", ".join(map(str, layers[:-1])), str(layers[-1])]))


def _config(graph: RunGraph) -> str:
    """The config as a file that runs again, with nothing left to defaults and without passwords."""
    plain = graph.config.model_dump(mode="json")
    plain["registry"]["uri"] = without_passwords(plain["registry"]["uri"])
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100))


def without_passwords(uri: str) -> str:
    """A URI that may be sent around: stars for user name, password and secret parameters."""
    return _TOKEN.sub(r"\1***", _PASSWORD.sub("***@", uri))
