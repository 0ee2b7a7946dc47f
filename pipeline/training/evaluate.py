"""Answering a whole split under several prompts at once, and scoring the answers.

Each row stands in the batch once per member, with a different prompt index: dev scores of a search, ensembles and the
final test are one forward pass each (Lester et al. 2021, section 6: "a single forward pass with a batch size of N").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model import PromptedModel
from pipeline.tasks import Batch, PreparedTask, collate, decode_answers, length_batches, score
from pipeline.training.trunks import Trunks

TOKENS_PER_FORWARD = 8192
"""The widest forward pass of an evaluation, members and padding included: long rows go through in smaller batches."""

Member = tuple[int, int]
"""A prompt's index in the bank and a head's in the head bank."""


@dataclass(frozen=True)
class SplitAnswers:
    """What K members answered on a split of R rows.

    Args:
        logits: [K, A, C] fp32, A answer positions of all rows in row order.
        offsets: [R + 1], row r's answers are `offsets[r]:offsets[r + 1]`.
    """

    logits: Tensor
    offsets: NDArray[np.int64]

    @property
    def probabilities(self) -> Tensor:
        """[K, A, C]."""
        return self.logits.softmax(-1)

    def loss(self, labels: Tensor) -> list[float]:
        """Mean cross entropy of each member over the known labels [A]."""
        known = labels >= 0
        picked = self.logits.log_softmax(-1)[:, known].gather(-1, labels[known].expand(len(self.logits), -1)[..., None])
        return (-picked.double().mean(dim=(1, 2))).tolist()


@torch.no_grad()
def answer_split(
    model: PromptedModel,
    task: PreparedTask,
    split: str,
    members: Sequence[Member],
    *,
    rows_per_batch: int,
    trunks: Trunks | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> SplitAnswers:
    """All members' logits on a split.

    Args:
        members: K of them, all with heads of the task.
        rows_per_batch: rows of the widest batch, members included.
        trunks: where what lies below the prompts may be known; else it is computed, once for all members.
        on_batch: hears (batches done, batches in all).
    """
    encoded = task.encoded[split]
    offsets = np.concatenate([[0], np.cumsum(task.answers_per_row(split))])
    result = torch.zeros(len(members), int(offsets[-1]), len(task.labels))
    groups = _alike(model, members)
    begins = {first for first, _ in groups}
    most = max(len(group) for group in groups.values())
    fitting = min(rows_per_batch, TOKENS_PER_FORWARD // int(encoded.lengths.max()))
    batches = length_batches(encoded.lengths, max(1, fitting // most))
    for done, indices in enumerate(batches, start=1):
        place = torch.from_numpy(np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in indices]))
        rows = split_rows(model, task, split, indices, begins, trunks)
        for group in groups.values():
            answers = model(_under(rows, [members[k] for k in group]))
            by_head = dict(zip(answers.heads, answers.logits, strict=True))
            for k in group:
                result[k, place] = by_head[members[k][1]].cpu()
        if on_batch is not None:
            on_batch(done, len(batches))
    return SplitAnswers(result, offsets)


def look_at_dev(
    model: PromptedModel, task: PreparedTask, members: Sequence[Member], rows_per_batch: int, trunks: Trunks
) -> list[tuple[float, float]]:
    """Each member's dev score in the task's own metric, and its dev loss."""
    assert model.bank is not None
    with model.bank.once():
        answers = answer_split(model, task, "dev", members, rows_per_batch=rows_per_batch, trunks=trunks)
    losses = answers.loss(torch.from_numpy(task.label_ids("dev")))
    scores = [score_answers(task, "dev", one.argmax(-1), answers.offsets)[task.metric] for one in answers.logits]
    return list(zip(scores, losses, strict=True))


def _alike(model: PromptedModel, members: Sequence[Member]) -> dict[tuple[int, int], list[int]]:
    """Members by first layer and length: side by side they need neither padding nor a mask for their prompts."""
    assert model.bank is not None
    firsts, lengths = model.bank.first_layers, model.bank.lengths
    groups: dict[tuple[int, int], list[int]] = {}
    for k, (prompt, _) in enumerate(members):
        groups.setdefault((firsts[prompt], lengths[prompt]), []).append(k)
    return groups


def split_rows(
    model: PromptedModel,
    task: PreparedTask,
    split: str,
    indices: NDArray[np.int64],
    begins: set[int],
    trunks: Trunks | None,
) -> Batch:
    """Rows of a split under prompt and head 0, with all that lies below prompts that begin at `begins`: from the cache,
    or computed here, once for all who use the rows."""
    nobody = [0] * len(indices)
    rows = collate(task.encoded[split].take(indices), prompt=nobody, head=nobody, pad_token_id=task.pad_token_id)
    width = rows.input_ids.shape[1]
    known = trunks.take(task, split, indices, begins, width) if trunks is not None else {}
    rows = replace(rows, trunk=known).to(model.backbone.device)
    missing = begins - {0} - set(known)
    if missing:
        found = model.backbone.trunk(rows.input_ids, rows.attention_mask, rows.token_type_ids, sorted(missing))
        rows = replace(rows, trunk={**rows.trunk, **found})
    return rows


def _under(rows: Batch, members: Sequence[Member]) -> Batch:
    """The rows, each under every member."""
    count, device = len(rows.input_ids), rows.input_ids.device
    prompt, head = torch.tensor(members, device=device).repeat_interleave(count, dim=0).unbind(1)
    example = torch.arange(count, device=device).repeat(len(members))
    return replace(rows, example=example, prompt=prompt, head=head, weight=torch.ones(len(example), device=device))


def score_answers(task: PreparedTask, split: str, classes: Tensor, offsets: NDArray[np.int64]) -> dict[str, float]:
    """The task's metrics for one class id per answer position [A]."""
    return score(task.metric, task.gold(split), decode_split(task, split, classes, offsets))


def score_rows(task: PreparedTask, split: str, classes: Tensor, rows: NDArray[np.int64]) -> float:
    """The task's own metric on some rows of a split, for one class id per answer position of theirs, row after row."""
    counts = task.answers_per_row(split)[rows]
    ids = classes.tolist()
    per_row = [ids[start:end] for start, end in pairwise([0, *np.cumsum(counts).tolist()])]
    gold, words = task.gold(split), task.words(split)
    gold, words = [gold[row] for row in rows], [words[row] for row in rows]
    return score(task.metric, gold, decode_answers(task.labels, task.metric, per_row, words, gold))[task.metric]


def decode_split(task: PreparedTask, split: str, classes: Tensor, offsets: NDArray[np.int64]) -> list[Any]:
    """Class ids [A] as the task's answers, row by row."""
    ids = classes.tolist()
    per_row = [ids[start:end] for start, end in pairwise(offsets)]
    return decode_answers(task.labels, task.metric, per_row, task.words(split), task.gold(split))
