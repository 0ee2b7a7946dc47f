"""What a head's scores mean: how they become probabilities, and how likely they make what is right.

Training, dev and the choice of an ensemble need the same thing of a task: the *evidence*, probabilities that should be
high. The loss is the mean of their negative logarithms; an ensemble's evidence is the mean of its members'. So a scale
says once what its evidence is, and there is one loss for all tasks.

A *unit* is what is scored together: a row of the task under a prompt, which may be several sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.tasks.encoding.batching import IGNORED

_NOTHING = -1e4  # the logarithm of a probability that is 0 for every purpose, and finite, so that gradients are


@dataclass(frozen=True)
class Gold:
    """What is right.

    Args:
        labels: [A] class ids, `IGNORED` where there is none.
        targets: [A, C] in 0..1 for tasks whose gold is not one class id per answer; else None.
        soft: whether the targets are what another model answered, to be answered alike.
    """

    labels: Tensor
    targets: Tensor | None = None
    soft: bool = False


@dataclass(frozen=True)
class Evidence:
    """Probabilities that should be high, as logarithms.

    Args:
        logs: [..., E]. weight: [E], 0 for what nobody knows. unit: [E], whose evidence each is.
    """

    logs: Tensor
    weight: Tensor
    unit: Tensor

    def loss(self, units: int) -> Tensor:
        """[units] the weighted mean of -log of each unit's evidence; 0 for a unit without any."""
        zeros = torch.zeros(units, device=self.logs.device)
        total = zeros.index_add(0, self.unit, self.weight)
        return zeros.index_add(0, self.unit, -self.logs * self.weight) / total.where(total > 0, 1.0)

    def mean_loss(self) -> Tensor:
        """[...] the weighted mean over all evidence, in double precision."""
        return -(self.logs.double() @ self.weight.double()) / self.weight.sum().double()


class Scale(Protocol):
    """A meaning of scores. `scores` are [..., A, C], `unit` [A] counts from 0 and does not descend."""

    biased: bool
    """Whether a bias, the same for all answers, means anything."""

    def logs(self, scores: Tensor, unit: Tensor) -> Tensor:
        """Logarithms of probabilities, [..., A, C]."""

    def evidence(self, scores: Tensor, gold: Gold, unit: Tensor) -> Evidence:
        """How likely the scores make what is right."""


class Classes:
    """Each answer is one of C classes; targets, where given, are a distribution over them."""

    biased = True

    def logs(self, scores: Tensor, unit: Tensor) -> Tensor:
        return scores.log_softmax(-1)

    def evidence(self, scores: Tensor, gold: Gold, unit: Tensor) -> Evidence:
        logs = self.logs(scores, unit)
        if gold.targets is not None:
            return Evidence(logs.flatten(-2), gold.targets.flatten(), unit.repeat_interleave(scores.shape[-1]))
        known = gold.labels != IGNORED
        index = gold.labels.where(known, 0)[:, None].expand(*logs.shape[:-1], 1)
        return Evidence(logs.gather(-1, index)[..., 0], known.float(), unit)


class Labels:
    """Each answer is any of C labels, each by itself."""

    biased = True

    def logs(self, scores: Tensor, unit: Tensor) -> Tensor:
        return F.logsigmoid(scores)

    def evidence(self, scores: Tensor, gold: Gold, unit: Tensor) -> Evidence:
        assert gold.targets is not None
        both = torch.stack([F.logsigmoid(scores), F.logsigmoid(-scores)], -1)  # [..., A, C, 2]
        weight = torch.stack([gold.targets, 1 - gold.targets], -1)
        return Evidence(both.flatten(-3), weight.flatten(), unit.repeat_interleave(2 * scores.shape[-1]))


class Places:
    """Of a unit's answers one is right, for each of C questions: a choice, the start and the end of a span.

    The answers of all sequences of a unit share one normalisation, so scores of different windows of a text compare
    (Clark & Gardner 2018, section 3.2, "shared-norm"). Where several are right, their probabilities add up (ibid.,
    section 2.2).
    """

    biased = False  # of scores that are compared with each other a constant falls out; trained, it would follow noise

    def logs(self, scores: Tensor, unit: Tensor) -> Tensor:
        return scores - _log_sum(scores, unit).index_select(-2, unit)

    def evidence(self, scores: Tensor, gold: Gold, unit: Tensor) -> Evidence:
        assert gold.targets is not None
        logs, questions = self.logs(scores, unit), scores.shape[-1]
        if gold.soft:
            return Evidence(logs.flatten(-2), gold.targets.flatten(), unit.repeat_interleave(questions))
        right = gold.targets > 0
        summed = _log_sum(logs.masked_fill(~right, _NOTHING), unit)  # [..., U, C]
        known = torch.zeros(summed.shape[-2:], device=scores.device).index_add(0, unit, right.float()) > 0
        whose = torch.arange(len(known), device=scores.device).repeat_interleave(questions)
        return Evidence(summed.flatten(-2), known.flatten().float(), whose)


CLASSES, LABELS, PLACES = Classes(), Labels(), Places()


def _log_sum(values: Tensor, unit: Tensor) -> Tensor:
    """log Σ exp of each unit's answers: [..., A, C] → [..., U, C]."""
    units = int(unit.max()) + 1 if len(unit) else 0
    shape = (*values.shape[:-2], units, values.shape[-1])
    highest = values.new_full(shape, _NOTHING * 2)
    highest = highest.scatter_reduce(-2, unit[:, None].expand_as(values), values.detach(), "amax")
    near = (values - highest.index_select(-2, unit)).exp()
    # a unit that has no answer here sums to 0: it is asked for by nobody, but its logarithm must be finite
    return values.new_zeros(shape).index_add(-2, unit, near).clamp_min(1e-30).log() + highest
