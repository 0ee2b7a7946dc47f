"""The picture of a comparison: a page with a row per task and method, and its seeds' spread on the task's own scale."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from workflows.compare.table import Comparison
from workflows.report.drawing import Mark, axis, interval_axis, interval_row
from workflows.report.write import save_report

PAGE = "compare.html"
"""The page's name in the comparison's folder."""


def write_page(path: Path, result: Comparison) -> None:
    """Writes the page, all at once."""
    tasks = []
    for task, group in groupby(result.rows, lambda row: row.task):
        rows = list(group)
        spreads = [row.test for row in rows]
        scale = axis((s.mean + sign * s.deviation for s in spreads for sign in (-1, 1)), ticks=4)
        charts = []
        for row in rows:
            test, classes = row.test, "shared" if row.best else "winner"
            ends = (test.mean - test.deviation, test.mean + test.deviation)
            charts.append(interval_row([Mark(classes, test.mean, ends, f"{test.mean:.3f}")], scale, row.method))
        tasks.append({"name": task, "rows": list(zip(rows, charts, strict=True)), "axis": interval_axis(scale)})
    save_report(path, {"result": result, "tasks": tasks}, "compare.html.j2")
