"""A task's ensemble, chosen greedily among all candidates that a search trained, from their cached dev probabilities.

Forward selection with replacement (Caruana et al. 2004, "Ensemble Selection from Libraries of Models", sections 2.1 and
2.2): begin with the best candidate, then add, again and again, the one that helps the mean most; chosen twice, it
weighs twice. On a small dev split that finds what happens to fit, so the whole procedure is cross-validated over rows,
and rows it had not seen decide how long the ensemble is, how it is combined, and whether there is one at all.

Members are added by loss, not by the task's metric. Accuracy on a hundred rows is full of ties and moves in jumps, and
span F1 is slow Python; the loss of a mean needs nothing but the members' evidence (`tasks/scales.py`), so one step
weighs all candidates at once. The metric decides what users see: the first member, the length, the combination.

The paper's bagging (section 2.3) is left out: it averages many ensembles into one of dozens of members, each of which
would be served; stopping early by cross-validation guards against the same thing and keeps the ensemble small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.prompts import COMBINATIONS
from pipeline.tasks import Evidence

POOL = 24
"""Only the best are looked at: the more there are, the surer some fit dev by luck (Caruana et al., section 2.3)."""
FOLDS = 5
FOLD_SEED = 0
TINY = 1e-30  # a probability that fp32 has rounded to 0 costs much, not everything

Rows = NDArray[np.int64]
Evaluate = Callable[[Tensor, Rows], float]
"""Probabilities [A', C] of the answers of some rows, in row order, and those rows, ascending → the task's metric on
them, at the threshold that does best there where the task has one."""


@dataclass(frozen=True)
class Ensemble:
    """Members of an ensemble and what they score on dev.

    Args:
        members: places among the candidates, in the order of choice; one that stands k times weighs k times.
        combine: a key of `COMBINATIONS`.
        score: on all of dev, which chose the members: optimistic.
        held_out: on all of dev, each row answered by what was chosen without it. Length and combination are the best
            of a few by this figure, and training stopped by dev, so it flatters too, but far less.
    """

    members: tuple[int, ...]
    combine: str
    score: float
    held_out: float


def choose_ensemble(
    order: Sequence[int],
    probabilities: Tensor,
    evidence: Evidence,
    offsets: NDArray[np.int64],
    size: int,
    evaluate: Evaluate,
    combinations: Sequence[str] = tuple(COMBINATIONS),
) -> Ensemble:
    """The ensemble that does best on dev rows it was not chosen on; the best candidate alone where none does better.

    Args:
        order: candidates from best to worst on dev; only the first `POOL` are considered.
        probabilities: [K, A, C] of all candidates on dev, A answers of all rows in row order.
        evidence: [K, E], how likely the candidates make what is right; each piece's unit is its row.
        offsets: [R + 1], row r's answers are `offsets[r]:offsets[r + 1]`.
        size: the most members, repeats counted.
        evaluate: the task's metric on some rows of dev.
        combinations: the ways to answer together that the task allows, keys of `COMBINATIONS`.

    Raises:
        ValueError: no candidates, or no room for a single member.
    """
    if not order or size < 1:
        raise ValueError(f"an ensemble of at most {size} of {len(order)} candidates")
    rows = np.arange(len(offsets) - 1)
    pool = torch.tensor(order[:POOL])
    p = probabilities[pool]  # [K, A, C], best first
    gold = Evidence(evidence.logs[pool].double(), evidence.weight.double(), evidence.unit)
    # `order` ranks on all of dev, so 0 is the search's winner. It is all there is where no row can be held out.
    path, combine, held_out = [0], "mean", None
    if len(rows) > 1:
        scores = _held_out_scores(p, gold, offsets, size, evaluate, combinations)
        # Of equals the first: the single best before any ensemble, fewer members before more, the mean before the vote.
        length, combine = max(scores, key=lambda choice: scores[choice])
        path = _greedy(gold.logs.exp(), gold.weight, 0, length)
        if len(set(path)) == 1:  # the winner several times over is the winner
            path, length, combine = path[:1], 1, "mean"
        held_out = scores[length, combine]
    score = evaluate(COMBINATIONS[combine](p[path]), rows)
    return Ensemble(tuple(pool[path].tolist()), combine, score, score if held_out is None else held_out)


def _held_out_scores(
    p: Tensor,
    gold: Evidence,
    offsets: NDArray[np.int64],
    size: int,
    evaluate: Evaluate,
    combinations: Sequence[str],
) -> dict[tuple[int, str], float]:
    """(length, combination) → the score on dev when each row is answered by what the other folds chose.

    The folds' answers are scored together, not each fold's alone: F1 and MCC of a few rows are noise, and their mean
    is biased where folds differ in positives (Forman & Scholz 2010). It also takes a fifth of the metric calls.

    Args:
        p: [K, A, C], best first. gold: of the same candidates.
    """
    count = len(offsets) - 1
    choices = [(length, name) for length in range(1, size + 1) for name in combinations]
    answered = {choice: torch.empty_like(p[0]) for choice in choices}  # [A, C] each
    shuffled = np.random.default_rng(FOLD_SEED).permutation(count)
    for fold in np.array_split(shuffled, min(FOLDS, count)):
        seen = np.setdiff1d(np.arange(count), fold)
        known, unknown = _answers_of(seen, offsets), _answers_of(fold, offsets)
        # As the search picks its winner, so that no ensemble is held against a weaker single than users would get.
        alone = [evaluate(one[known], seen) for one in p]
        visible = torch.isin(gold.unit, torch.from_numpy(seen))
        likely, weight = gold.logs[:, visible].exp(), gold.weight[visible]
        merit = _merits(likely, weight).tolist()
        first = max(range(len(p)), key=lambda k: (alone[k], merit[k], -k))
        path = _greedy(likely, weight, first, size)
        for length, name in choices:
            answered[length, name][unknown] = COMBINATIONS[name](p[path[:length]][:, unknown])
    return {choice: evaluate(told, np.arange(count)) for choice, told in answered.items()}


def _greedy(gold: Tensor, weight: Tensor, first: int, size: int) -> list[int]:
    """Forward selection with replacement on the loss of the mean (Caruana et al. 2004, section 2.1).

    Of a mean of probabilities the loss sees only the evidence, so [K, E] is all it takes: the sum so far [E] beside
    every candidate is every ensemble of one more. Dividing by its size moves all losses alike.

    Args:
        gold: [K, E], the evidence on the rows that may be seen, as probabilities. weight: [E].
        first: the member to begin with, the best by the metric (the sorted initialisation of section 2.2, with one).
    """
    path, total = [first], gold[first]  # [E]
    while len(path) < size:
        path.append(int(_merits(total + gold, weight).argmax()))  # the first of equals
        total = total + gold[path[-1]]
    return path


def _merits(likely: Tensor, weight: Tensor) -> Tensor:
    """The weighted log of what is right, [K, E] → [K]; summed, as a matrix product rounds a row by where it stands, and
    equals would not be equal."""
    return (likely.clamp_min(TINY).log() * weight).sum(-1)


def _answers_of(rows: Rows, offsets: NDArray[np.int64]) -> Tensor:
    """The places of some rows' answers, [A'], in the order of the rows."""
    return torch.from_numpy(np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in rows]))
