"""The end of a run for people: the table, the report, the next command."""

from __future__ import annotations

from rich.console import Console

from workflows.progress import span
from workflows.summary import RunSummary
from workflows.tables import columns

_HEADERS = ("task", "start", "best length", "dev", "test", "from-scratch test", "ensemble test", "version")


def render(summary: RunSummary, console: Console) -> None:
    """Prints what a run came to."""
    rows = [
        (
            *(row.task, row.start, row.length, row.dev, row.test),
            *(row.from_scratch_test, row.ensemble_test, row.version),
        )
        for row in summary.rows
    ]
    if rows:
        console.print(columns(_HEADERS, rows))
    for task, reason in summary.failed.items():
        console.print(f"failed: {task}: {reason}", markup=False, soft_wrap=True)
    console.print(f"\nin {span(summary.seconds)}; report: {summary.report}", markup=False, soft_wrap=True)
    if summary.rows:
        where = f"--registry {summary.registry} --prefix {summary.prefix}"
        command = f"next: deepprompt predict {summary.rows[0].task} {where} < rows.jsonl"
        console.print(command, markup=False, soft_wrap=True)
