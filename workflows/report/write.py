"""The report of a run: one HTML file that needs nothing else, to be read, sent and printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from workflows.report.leaderboard import CONTENDERS
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
    save_report(path, report_view(graph, summary))
    return summary.with_report(path)


def save_report(path: Path, view: Mapping[str, Any], template: str = "report.html.j2") -> None:
    """Writes a view as HTML, all at once.

    Raises:
        InputError: the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(render(view, template), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"the report cannot be written ({error.strerror})", where=str(path)) from error


def render_report(graph: RunGraph, summary: RunSummary) -> str:
    """The report as HTML: no script, no picture, nothing fetched from anywhere."""
    return render(report_view(graph, summary))


def render(view: Mapping[str, Any], template: str = "report.html.j2") -> str:
    """A view as HTML."""
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
        "ends": ends,
        "depth": depth,
        "standing": standing,
    }
    return templates.get_template(template).render(view, contender_names=CONTENDERS)


def points(difference: float) -> str:
    """A difference of two scores in points, hundredths of the metric, with its sign."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no minus before a zero


def ends(interval: tuple[float, float] | None) -> str:
    """An interval of a score: 0.853–0.910; nothing where there is none."""
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}".replace("-", "−")
