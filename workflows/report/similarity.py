"""Which task's prompt is like which other's: the matrix that retrieval chose its starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.training.pretraining.similarity import nearest_source

if TYPE_CHECKING:
    from workflows.stages.graph import RunGraph


@dataclass(frozen=True)
class SimilarityTable:
    """A row per adapted task, a column per source.

    Args:
        sources: the tasks that others may start from.
        rows: (task, the source it started from, per source the cosine and how strongly it is coloured, in percent; None
            for itself).
    """

    sources: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[tuple[float, int] | None]]]


def similarity_table(matrix: Mapping[str, Mapping[str, float]], graph: RunGraph) -> SimilarityTable | None:
    """The table of a run; None where nothing was retrieved."""
    if not matrix:
        return None
    sources = graph.config.pretrain_tasks
    rows = []
    for task in graph.config.adapt_tasks:
        cells = [None if s == task else (matrix[task][s], round(40 * max(0.0, matrix[task][s]))) for s in sources]
        rows.append((task, nearest_source(task, matrix, sources), cells))
    return SimilarityTable(sources, rows)
