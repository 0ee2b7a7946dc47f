"""The report of a run from what it left on disk: nothing is computed, no worker starts, the registry is not asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from workflows.config.settings import Config
from workflows.report.figures import figures
from workflows.report.origin import origin
from workflows.report.progress import done
from workflows.report.view import report_view
from workflows.report.write import REPORT, save_report
from workflows.stages.graph import RunGraph, build_graph
from workflows.summary import RunSummary, summarise, task_rows


def report_again(config: Config, out: Path | None = None) -> dict[str, Any]:
    """Writes the report of a run that is done, or as far as it is.

    Args:
        out: the file; default: the run's own report.html.

    Returns:
        The report's figures, see `figures`.

    Raises:
        InputError: the run has not begun, or the data is not what the config says, or the file cannot be written.
    """
    if not config.run_folder.is_dir():
        raise InputError(
            "the run has not begun: there is nothing to report",
            where=str(config.run_folder),
            hint="deepprompt run CONFIG begins it",
        )
    graph = build_graph(config)
    summary = summary_from_disk(graph)
    path = (out or graph.folder / REPORT).absolute()
    view = report_view(graph, replace(summary, report=str(path)))
    save_report(path, view)
    return figures(view)


def summary_from_disk(graph: RunGraph) -> RunSummary:
    """A run's results as its stages stand now; what was made from other inputs is left out."""
    unscored = {task: "" for task in graph.config.adapt_tasks if done(graph, f"evaluate/{task}", "scores.json") is None}
    rows = task_rows(graph, unscored)
    registered = done(graph, "register", "stage.json") or _partly(graph, [row.task for row in rows])
    kept = origin(graph)
    failed = {task: reason for task, reason in kept["failed"].items() if task in unscored}
    versions = registered.get("summary", {}).get("versions", {})
    return summarise(graph, rows, failed, versions, float(kept["seconds"] or 0.0))


def _partly(graph: RunGraph, scored: list[str]) -> dict[str, Any]:
    """The registration of the scored tasks only, where others failed."""
    from workflows.stages.stage import read_record

    stage = graph.register_stage(scored)
    record = read_record(stage.folder(graph.folder) / "stage.json")
    return record if record is not None and record.get("fingerprint") == stage.fingerprint else {}
