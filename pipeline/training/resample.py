"""Scores of many draws of the same rows, without scoring each draw: every row's counts add up.

Accuracy, F1 and Matthews' correlation are functions of sums over rows, so a draw in which row r comes n times has n
times its counts. Two thousand draws are then one matrix product. Metrics that are no such function have no counts here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABEL_METRICS = ("accuracy", "macro_f1", "mcc")
"""Metrics of one label per row, which is right or wrong."""
Counts = NDArray[np.float64]


def row_counts(metric: str, gold: Sequence[Any], *systems: Sequence[Any]) -> list[Counts] | None:
    """For each system's answers, what each row adds to the metric.

    Returns:
        Per system [R, K, 3]: for each of K classes (K = 1 where the metric knows none) how many answers are right, how
        many were given and how many are gold. None for a metric that is not a function of their sums.
    """
    if metric in ("macro_f1", "mcc"):
        classes = sorted({*gold, *(answer for system in systems for answer in system)})
        place = {label: k for k, label in enumerate(classes)}
        return [_of_labels(gold, system, place) for system in systems]
    if metric == "accuracy":
        return [_single([(int(g == a), 1, 1) for g, a in zip(gold, system, strict=True)]) for system in systems]
    if metric == "token_accuracy":
        return [_single([_of_tokens(g, a) for g, a in zip(gold, system, strict=True)]) for system in systems]
    if metric == "span_f1":
        return [_single([_of_spans(g, a) for g, a in zip(gold, system, strict=True)]) for system in systems]
    return None


def figures_of(metric: str, times: NDArray[np.int64], counts: Counts) -> NDArray[np.float64]:
    """The metric of S draws, as `pipeline.tasks.metrics.score` would give it for each.

    Args:
        times: [S, R] how often each row is drawn. counts: [R, K, 3] from `row_counts`.

    Returns:
        [S].
    """
    rows, classes, _ = counts.shape
    sums = (times @ counts.reshape(rows, -1)).reshape(-1, classes, 3)  # [S, K, 3]
    right, given, gold = sums[..., 0], sums[..., 1], sums[..., 2]  # [S, K] each
    if metric == "mcc":
        return _mcc(right.sum(-1), given, gold)
    if metric in ("accuracy", "token_accuracy"):
        return right[:, 0] / gold[:, 0]
    f1 = _ratio(2 * right, given + gold)  # [S, K]
    there = (given + gold) > 0  # a class that a draw has nowhere does not count in it
    return _ratio((f1 * there).sum(-1), there.sum(-1))


def _mcc(right: NDArray[Any], given: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float64]:
    """Matthews' correlation for K classes (Gorodkin 2004): right [S], given and gold [S, K]."""
    rows = gold.sum(-1)
    above = right * rows - (given * gold).sum(-1)
    below = np.sqrt((rows**2 - (given**2).sum(-1)) * (rows**2 - (gold**2).sum(-1)))
    return _ratio(above, below)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Zero where nothing is counted, as in the metrics."""
    result: NDArray[np.float64] = np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
    return result


def _of_labels(gold: Sequence[str], answers: Sequence[str], place: dict[str, int]) -> Counts:
    counts = np.zeros((len(gold), len(place), 3))
    for row, (answer, right) in enumerate(zip(answers, gold, strict=True)):
        counts[row, place[answer], 1] += 1
        counts[row, place[right], 2] += 1
        counts[row, place[right], 0] += answer == right
    return counts


def _of_tokens(gold: Sequence[str], answers: Sequence[str]) -> tuple[int, int, int]:
    return sum(g == a for g, a in zip(gold, answers, strict=True)), len(answers), len(gold)


def _of_spans(gold: Sequence[str], answers: Sequence[str]) -> tuple[int, int, int]:
    from seqeval.metrics.sequence_labeling import get_entities

    expected, found = set(get_entities(list(gold))), set(get_entities(list(answers)))
    return len(expected & found), len(found), len(expected)


def _single(rows: Sequence[tuple[int, int, int]]) -> Counts:
    return np.array(rows, dtype=np.float64)[:, None, :]
