"""How much memory a run's workers take at their widest step."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.backbone import ShardingChoice
from pipeline.training.passes.packing import TOKENS_PER_PASS, room_for
from workflows.plan import estimate
from workflows.plan.work import Work
from workflows.stages.graph import RunGraph


def memory_of_workers(
    graph: RunGraph, work: Work, group: int, gpus: int, choice: ShardingChoice | None
) -> dict[str, int]:
    """Stage → bytes of one worker.

    Args:
        group: workers that pretrain together. gpus: of the machine. choice: how they hold the backbone; None where
            nothing is pretrained.
    """
    weights, memory = graph.backbone_bytes, {}

    def bytes_of(tokens: float, share: int, scored: int) -> int:
        return estimate.worker_memory(graph.info, weights, work.item, tokens, share, work.again, scored)

    if choice is not None:
        share = group if choice.kind == "zero3" else 1
        memory["pretrain"] = bytes_of(
            work.pretrain_step().tokens / group, share, _scored(graph, graph.pretrain_stage_tasks)
        )
    tasks = graph.config.adapt_tasks
    step = sum(
        work.rows(name, "train", graph.config.adapt_for(name).batch_rows).tokens * len(graph.candidates(name))
        for name in tasks
    )
    scored = _scored(graph, tasks)
    widest = room_for(TOKENS_PER_PASS["cuda" if gpus else "cpu"], scored)
    memory["adapt"] = bytes_of(min(step, widest), 1, scored)
    return memory


def _scored(graph: RunGraph, names: Iterable[str]) -> int:
    """Of the vocabulary's tokens, how many are scored at a token of these tasks."""
    return max((graph.tasks[name].kind.scored(graph.info.vocabulary) for name in names), default=0)
