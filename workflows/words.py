"""Durations, sizes and scores in the words that every table, bar and report uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workflows.summary import Spread, TaskRow


def span(seconds: float) -> str:
    """A duration for people: 0:42, 12:05, 3:20:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(size: float) -> str:
    """Bytes for people: 512 B, 3.1 MB, 1.4 GB."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def depth(first_layer: int, layers: int) -> str:
    """In how many of the backbone's layers a prompt stands: 3 of 6."""
    return f"{layers - first_layer} of {layers}"


def standing(row: TaskRow) -> str:
    """Where a task's prompt stands: in 3 of 6 layers, in the input, or nowhere: a head alone, or words."""
    if not row.length:
        return "no prompt"
    return depth(row.first_layer, row.layers) if row.deep else "input"


def figure(score: float | None) -> str:
    """A score: test splits of some hundred rows do not bear a fourth digit."""
    return "-" if score is None else f"{score:.3f}"


def spread(value: Spread) -> str:
    """Mean ± deviation over seeds; a single seed has no deviation."""
    return figure(value.mean) if value.seeds < 2 else f"{value.mean:.3f} ± {value.deviation:.3f}"
