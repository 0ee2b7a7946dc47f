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
from pipeline.tasks import PreparedTask, collate, decode_answers, length_batches, score
from pipeline.training.trunks import Trunks

TOKENS_PER_FORWARD = 16384
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
    assert model.bank is not None
    encoded = task.encoded[split]
    offsets = np.concatenate([[0], np.cumsum(task.answers_per_row(split))])
    result = torch.zeros(len(members), int(offsets[-1]), len(task.labels))
    fitting = min(rows_per_batch, TOKENS_PER_FORWARD // int(encoded.lengths.max()))
    batches = length_batches(encoded.lengths, max(1, fitting // len(members)))
    begins = {model.bank.first_layers[prompt] for prompt, _ in members}
    for done, indices in enumerate(batches, start=1):
        batch = collate(
            encoded.take(indices),
            example=[i for _ in members for i in range(len(indices))],
            prompt=[prompt for prompt, _ in members for _ in indices],
            head=[head for _, head in members for _ in indices],
            pad_token_id=task.pad_token_id,
        )
        if trunks is not None:
            batch = replace(batch, trunk=trunks.take(task, split, indices, begins, batch.input_ids.shape[1]))
        answers = model(batch.to(model.backbone.device))
        place = torch.from_numpy(np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in indices]))
        by_head = dict(zip(answers.heads, answers.logits, strict=True))
        for k, (_, head) in enumerate(members):
            result[k, place] = by_head[head].cpu()
        if on_batch is not None:
            on_batch(done, len(batches))
    return SplitAnswers(result, offsets)


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
