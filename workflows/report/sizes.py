"""What a task costs in parameters and bytes, beside a copy of the backbone fine-tuned in full."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workflows.stages.graph import RunGraph
from workflows.summary import RunSummary


@dataclass(frozen=True)
class Cost:
    """What one task adds to the backbone: numbers of its prompt and of its head, all fp32."""

    task: str
    prompt: int
    head: int

    @property
    def parameters(self) -> int:
        return self.prompt + self.head

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * self.parameters


def costs(graph: RunGraph, summary: RunSummary) -> list[Cost]:
    """Per scored task."""
    info = graph.info
    return [
        Cost(
            row.task,
            math.prod(info.prompt_shape(row.length, row.first_layer, graph.config.prompt.deep)),
            graph.head_numbers(row.task),
        )
        for row in summary.rows
    ]
