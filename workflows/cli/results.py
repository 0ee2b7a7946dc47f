"""The end of a run on the terminal: what each task came to, what pretraining bought, what to type next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from workflows.cli.tables import columns
from workflows.report.gains import gains
from workflows.words import figure, span, spread, standing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from workflows.summary import RunSummary

_CHOSEN = ("task", "start", "best length", "layers", "dev", "test", "from-scratch test", "ensemble test")
_GAINS = ("task", "", "shared prompt", "from scratch", "difference", "seeds")


def print_results(summary: RunSummary, config_argument: str, console: Console) -> None:
    """All that the end of a run tells: the tables, what failed, the report, the next commands."""
    if summary.rows:
        console.print(results_table(summary))
        if gains(summary):
            console.print("\nwhat pretraining bought: test scores, mean ± deviation over seeds", markup=False)
            console.print(gain_table(summary))
    for task, verdict in summary.gate.items():
        if verdict["decision"] in ("challenger", "reject"):
            became = "is kept as challenger" if verdict["decision"] == "challenger" else "is rejected"
            told = f"{task}: v{verdict['version']} {became}, v{verdict['champion']} stays champion: {verdict['reason']}"
            console.print(told, markup=False, soft_wrap=True)
    for task, reason in summary.failed.items():
        console.print(f"failed: {task}: {reason}", markup=False, soft_wrap=True)
    console.print(f"\ndone in {span(summary.seconds)}; report: {summary.report}", markup=False, soft_wrap=True)
    for command in next_commands(summary, config_argument):
        console.print(f"next: {command}", markup=False, soft_wrap=True)


def results_table(summary: RunSummary) -> Table:
    """A line per task that was scored: what was chosen on dev, and its test scores."""
    distilled = any(row.distilled_test is not None for row in summary.rows)
    rows = [
        (
            *(row.task, row.start, row.length, standing(row), figure(row.dev), figure(row.test)),
            *(figure(row.from_scratch_test), figure(row.ensemble_test)),
            *([figure(row.distilled_test)] if distilled else []),
            row.version,
        )
        for row in summary.rows
    ]
    headers = (*_CHOSEN, *(["distilled test"] if distilled else []), "registry version")
    return _figures_right(columns(headers, rows))


def gain_table(summary: RunSummary) -> Table:
    """What pretraining bought on test: mean ± deviation over seeds of both starts, held-out tasks first."""
    rows = [
        (
            *(gain.task, "held out" if gain.held_out else "", spread(gain.shared), spread(gain.scratch)),
            *(f"{round(gain.difference, 3) + 0.0:+.3f}", gain.seeds),
        )
        for gain in gains(summary)
    ]
    return _figures_right(columns(_GAINS, rows))


def next_commands(summary: RunSummary, config_argument: str) -> list[str]:
    """What to type after a run, ready for a shell: mend what failed, look at a prompt, use it.

    Args:
        config_argument: CONFIG as the user typed it.
    """
    from pipeline.tasks import TASK_TYPES
    from workflows.stages.stage import read_record

    config = shlex.quote(config_argument)
    commands = [f"deepprompt run {config}"] if summary.failed else []
    registered = next((row.task for row in summary.rows if row.version is not None), None)
    if registered is None:
        return commands or [f"deepprompt status {config}"]
    task = shlex.quote(registered)
    prepared = read_record(Path(summary.folder) / "prepare" / registered / "task.json") or {}
    example = TASK_TYPES[prepared.get("type", "classification")].example
    commands += [
        f"deepprompt registry promote {shlex.quote(name)}@v{verdict['version']} --config {config}"
        for name, verdict in summary.gate.items()
        if verdict["decision"] == "challenger"
    ]
    return [
        *commands,
        f"deepprompt registry show {task} --config {config}",
        f"echo {shlex.quote(json.dumps(example))} | deepprompt predict {task} --config {config}",
    ]


def _figures_right(table: Table) -> Table:
    """Right for every column but the first two: scores are told as text here, with three digits."""
    for column in table.columns[2:]:
        column.justify = "right"
    return table
