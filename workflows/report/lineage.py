"""Which prompt came from which: source tasks → shared prompt → task prompts, as lists with curves between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflows.report.drawing import links
from workflows.report.progress import done
from workflows.stages.graph import RunGraph
from workflows.summary import RunSummary, TaskRow


@dataclass(frozen=True)
class Lineage:
    """What the picture shows.

    Args:
        sources: task → training rows. children, own: task prompts that start from the shared one, and from scratch.
        parameters, fingerprint: of the shared prompt; no fingerprint before it is trained.
        above, below: the curves that lead to the shared prompt and from it.
    """

    sources: Mapping[str, int]
    children: tuple[TaskRow, ...]
    own: tuple[TaskRow, ...]
    parameters: int
    fingerprint: str | None
    facts: Mapping[str, Any]
    above: str
    below: str


def lineage(graph: RunGraph, summary: RunSummary) -> Lineage | None:
    """The picture of a run; None where nothing was pretrained and no prompt has a parent."""
    if graph.config.pretrain is None:
        return None
    known = [name for name in graph.config.pretrain_tasks if name in graph.tasks]
    sources = {name: len(graph.tasks[name].splits["train"]) for name in known}
    children = tuple(row for row in summary.rows if row.start == "shared")
    own = tuple(row for row in summary.rows if row.start != "shared")
    ends = _heights(len(children) + len(own))[: len(children)]
    return Lineage(
        sources,
        children,
        own,
        math.prod(graph.info.prompt_shape(graph.config.prompt.length, graph.first_layer, graph.config.prompt.deep)),
        (done(graph, "pretrain", "artifact/manifest.json") or {}).get("fingerprint"),
        (done(graph, "pretrain", "stage.json") or {}).get("summary", {}),
        links(
            [(y, 50.0, "shared") for y in _heights(len(sources))],
            f"the shared prompt was trained on {', '.join(sources)}",
        ),
        links(
            [(50.0, y, "shared") for y in ends],
            f"from the shared prompt start {', '.join(row.task for row in children) or 'none'}",
        ),
    )


def _heights(count: int) -> list[float]:
    """The middles of so many rows of one height, in percent."""
    return [round(100 * (n + 0.5) / count, 2) for n in range(count)]
