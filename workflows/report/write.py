"""The report of a run: one HTML file that needs nothing else, to be read, sent and printed."""

from __future__ import annotations

import os
from pathlib import Path

from workflows.report.view import report_view
from workflows.stages.graph import RunGraph
from workflows.summary import RunSummary
from workflows.words import amount, depth, figure, span, spread, standing

REPORT = "report.html"
"""The report's name in the run's folder."""
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(graph: RunGraph, summary: RunSummary) -> RunSummary:
    """Writes the run's report, replacing an earlier one as a whole.

    Returns:
        The summary, with the report's path.
    """
    path = graph.folder / REPORT
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(render_report(graph, summary), encoding="utf-8")
    os.replace(part, path)
    return summary.with_report(path)


def render_report(graph: RunGraph, summary: RunSummary) -> str:
    """The report as HTML: no script, no picture, nothing fetched from anywhere."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,  # names of tasks, notes and errors come from the user's files
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "figure": figure,
        "spread": spread,
        "amount": amount,
        "span": span,
        "points": points,
        "depth": depth,
        "standing": standing,
    }
    return templates.get_template("report.html.j2").render(report_view(graph, summary))


def points(difference: float) -> str:
    """A difference of two scores in points, hundredths of the metric, with its sign."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no minus before a zero
