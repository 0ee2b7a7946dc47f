"""Trained candidates answering together: one bank of their best prompts, one forward pass for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.backbone import Backbone
from pipeline.model import PromptedModel
from pipeline.tasks import HeadBank, PreparedTask
from pipeline.training.candidates import Trained, bank_of
from pipeline.training.evaluation.evaluate import Member, SplitAnswers, answer_split
from pipeline.training.evaluation.writing import write_split
from pipeline.training.trunks import Trunks


def answer_together(
    backbone: Backbone,
    task: PreparedTask,
    split: str,
    trained: Sequence[Trained],
    *,
    pooling: str,
    rows_per_batch: int = 512,
    trunks: Trunks | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> SplitAnswers:
    """The logits of K trained candidates on a split, [K, A, C]; what lies below their prompts is computed once."""
    model, members = _model_of(backbone, task, trained, pooling)
    return answer_split(model, task, split, members, rows_per_batch=rows_per_batch, trunks=trunks, on_batch=on_batch)


def write_together(
    backbone: Backbone,
    task: PreparedTask,
    split: str,
    trained: Sequence[Trained],
    *,
    pooling: str,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[list[str]]:
    """The texts that K trained candidates write for a split of R rows, [K][R]."""
    model, members = _model_of(backbone, task, trained, pooling)
    return write_split(model, task, split, members, on_batch=on_batch)


def _model_of(
    backbone: Backbone, task: PreparedTask, trained: Sequence[Trained], pooling: str
) -> tuple[PromptedModel, list[Member]]:
    """Trained candidates in one bank, and each one's prompt and head."""
    bank = bank_of(trained, backbone.info)
    count = len(trained)
    heads = HeadBank([task.head(pooling)] * count, backbone.info.width, [0] * count)
    for n, one in enumerate(trained):
        heads.put(n, one.weight, one.bias)
    model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device))
    return model, [(n, n) for n in range(count)]
