"""Answering a whole split under several prompts at once.

Each row stands in the batch once per member, with a different prompt index: dev scores of a search, ensembles and the
final test are one forward pass each (Lester et al. 2021, section 6: "a single forward pass with a batch size of N").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model import PromptedModel
from pipeline.tasks import Answers, Batch, Evidence, Gold, PreparedTask, collate, length_batches
from pipeline.tasks.scoring.scales import Scale
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.passes.packing import room_for
from pipeline.training.trunks import TOKENS_PER_FORWARD, Trunks

Member = tuple[int, int]
"""A prompt's index in the bank and a head's in the head bank."""


@dataclass(frozen=True)
class SplitAnswers:
    """What K members answered on a split of R rows.

    Args:
        logits: [K, A, C] fp32, A answer positions of all rows in row order.
        offsets: [R + 1], row r's answers are `offsets[r]:offsets[r + 1]`.
        scale: what the logits mean.
    """

    logits: Tensor
    offsets: NDArray[np.int64]
    scale: Scale

    @property
    def unit(self) -> Tensor:
        """[A] the row of each answer."""
        rows = len(self.offsets) - 1
        return torch.arange(rows).repeat_interleave(torch.from_numpy(np.diff(self.offsets)))

    @property
    def probabilities(self) -> Tensor:
        """[K, A, C]."""
        return self.scale.logs(self.logits, self.unit).exp()

    def evidence(self, gold: Gold) -> Evidence:
        """How likely each member makes what is right, [K, E]; each piece's unit is its row."""
        return self.scale.evidence(self.logits, gold, self.unit)

    def loss(self, gold: Gold) -> list[float]:
        """Mean loss of each member over all that is known."""
        return self.evidence(gold).mean_loss().tolist()


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
        rows_per_batch: examples of the widest batch; long ones go through in smaller batches.
        trunks: where what lies below the prompts may be known; else it is computed, once for all members.
        on_batch: hears (batches done, batches in all).
    """
    offsets = np.concatenate([[0], np.cumsum(task.answers_per_row(split))])
    result = torch.zeros(len(members), int(offsets[-1]), len(task.labels))
    for indices, some, answers in _answered(model, task, split, members, rows_per_batch, trunks, on_batch):
        place = torch.from_numpy(np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in indices]))
        by_head = dict(zip(answers.heads, answers.logits, strict=True))
        for k in some:
            result[k, place] = by_head[members[k][1]].cpu()
    return SplitAnswers(result, offsets, task.kind.scale)


@torch.no_grad()
def split_losses(
    model: PromptedModel,
    task: PreparedTask,
    split: str,
    members: Sequence[Member],
    *,
    rows_per_batch: int,
    trunks: Trunks | None = None,
) -> list[float]:
    """Mean loss of each member over all answers of a split, of which nothing else is kept: where an answer is a token,
    its scores are as many as the vocabulary."""
    counts = task.answers_per_row(split)
    total = torch.zeros(len(members), dtype=torch.float64)
    for indices, some, answers in _answered(model, task, split, members, rows_per_batch, trunks, None):
        each = answers.loss.view(len(some), -1).double().cpu()  # [some, U], means over the answers of a row
        total[list(some)] += each @ torch.from_numpy(counts[indices]).double()
    return (total / int(counts.sum())).tolist()


def _answered(
    model: PromptedModel,
    task: PreparedTask,
    split: str,
    members: Sequence[Member],
    rows_per_batch: int,
    trunks: Trunks | None,
    on_batch: Callable[[int, int], None] | None,
) -> Iterator[tuple[NDArray[np.int64], Sequence[int], Answers]]:
    """The forward passes over a split: (rows, places of the members, what they answered)."""
    encoded = task.encoded[split]
    groups = _alike(model, members)
    begins = {first for first, _ in groups}
    room = room_for(TOKENS_PER_FORWARD, task.kind.scored(model.backbone.info.vocabulary))
    batches = length_batches(encoded.lengths, rows_per_batch, sequences=encoded.sequences, tokens=room)
    for done, indices in enumerate(batches, start=1):
        rows = split_rows(model, task, split, indices, begins, trunks)
        count, width = rows.input_ids.shape
        for some in _passes(groups, count, width, room):
            yield indices, some, model(_under(rows, [members[k] for k in some]))
        if on_batch is not None:
            on_batch(done, len(batches))


def look_at_dev(
    model: PromptedModel, task: PreparedTask, members: Sequence[Member], rows_per_batch: int, trunks: Trunks
) -> list[tuple[float, float]]:
    """Each member's dev score in the task's own metric (at its own best threshold), and its dev loss.

    Of a task that is written the score is the likelihood of the references' tokens, each after those before it: the
    geometric mean, which one pass gives. To write every text at every look would take as many passes as it has tokens.
    """
    assert model.bank is not None
    if task.kind.written:
        with model.bank.once():
            losses = split_losses(model, task, "dev", members, rows_per_batch=rows_per_batch, trunks=trunks)
        return [(math.exp(-loss), loss) for loss in losses]
    with model.bank.once():
        answers = answer_split(model, task, "dev", members, rows_per_batch=rows_per_batch, trunks=trunks)
    losses = answers.loss(task.right("dev"))
    rows = SplitRows(task, "dev")
    scores = [rows.judge(one).score for one in answers.probabilities]
    return list(zip(scores, losses, strict=True))


def _alike(model: PromptedModel, members: Sequence[Member]) -> dict[tuple[int, int], list[int]]:
    """Members by first layer and length: side by side they need neither padding nor a mask for their prompts."""
    assert model.bank is not None
    firsts, lengths = model.bank.first_layers, model.bank.lengths
    groups: dict[tuple[int, int], list[int]] = {}
    for k, (prompt, _) in enumerate(members):
        groups.setdefault((firsts[prompt], lengths[prompt]), []).append(k)
    return groups


def _passes(groups: Mapping[tuple[int, int], list[int]], rows: int, tokens: int, room: int) -> Iterator[list[int]]:
    """Members that answer side by side: as many as keep a pass of `rows` × `tokens` for each within `room` tokens."""
    for (_, places), group in groups.items():
        together = max(1, room // (rows * (tokens + places)))
        yield from (group[i : i + together] for i in range(0, len(group), together))


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
    count, units, device = len(rows.input_ids), len(rows.weight), rows.input_ids.device
    prompt, head = torch.tensor(members, device=device).repeat_interleave(count, dim=0).unbind(1)
    example = torch.arange(count, device=device).repeat(len(members))
    unit = torch.cat([rows.unit + k * units for k in range(len(members))])
    weight = torch.ones(units * len(members), device=device)
    return replace(rows, example=example, prompt=prompt, head=head, unit=unit, weight=weight)
