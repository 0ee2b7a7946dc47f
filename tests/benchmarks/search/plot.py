"""How the search's cost grows, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(scale: dict[str, Any], path: Path) -> None:
    """Seconds, and seconds per candidate, against candidates and rows; written as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    sides = (("candidates", "per candidate", "candidates (1000 rows)"),)
    sides += (("rows", "per candidate and 1000 rows", "training rows (24 candidates)"),)
    for axis, (key, unit, title) in zip(axes, sides, strict=True):
        across = [int(x) for x in scale[key]]
        axis.plot(across, [one["seconds"] for one in scale[key].values()], "o-", label="seconds")
        axis.plot(across, [one[unit] for one in scale[key].values()], "s--", label=f"seconds {unit}")
        axis.set(xscale="log", yscale="log", xlabel=title)
        axis.set_xticks(across, [f"{x:,}" for x in across], minor=False)
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
