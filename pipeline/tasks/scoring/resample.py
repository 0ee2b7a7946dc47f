"""How sure a figure is: intervals over the rows of a split (Efron & Tibshirani 1993, chapters 13 and 16).

A metric is a function of sums over rows, of right answers, of spans found or of labels given, so a resampled split is
those sums with every row counted as often as it was drawn: no answer is scored twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.scoring.metrics import Scorer, score
from pipeline.tasks.scoring.texts import TEXT_METRICS, text_counts, text_figures

RESAMPLES = 1000
LEVEL = 0.95
_AT_ONCE = 100
_OF_LABELS = ("accuracy", "macro_f1", "micro_f1", "mcc")
_SEED = 0  # the same rows are drawn in every run and for every candidate: intervals compare, and repeat

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Where a figure lies at the given level, were other rows drawn from where these came from.

    Args:
        method: "bootstrap" over rows, or "wilson" for a share of rows (Wilson 1927): a bootstrap of a share near 0
            or 1 knows no doubt.
    """

    low: float
    high: float
    rows: int
    method: str
    level: float = LEVEL


def interval(metric: str, gold: Sequence[Any], predicted: Sequence[Any], scorer: Scorer = score) -> Interval | None:
    """The interval of a score.

    Args:
        metric, gold, predicted: as for `scorer`, which is the task type's own `score` where it has one.

    Returns:
        None for a metric that is no function of sums over rows: it cannot be resampled this way.
    """
    counts = row_counts(metric, gold, predicted, scorer)
    if counts is None:
        return None
    rows = len(gold)
    if metric == "accuracy":
        return Interval(*_wilson(float(figures(metric, counts.sum(0))), rows), rows, "wilson")
    return _percentiles(np.concatenate([figures(metric, drawn @ counts) for drawn in _draws(rows)]), rows)


def difference(
    metric: str,
    gold: Sequence[Any],
    ones: Sequence[Sequence[Any]],
    others: Sequence[Sequence[Any]],
    scorer: Scorer = score,
) -> Interval | None:
    """The interval of how much better some answers are than others to the same rows, both drawn together (paired).

    Args:
        ones, others: predictions, each as for `score`; of several, seeds for example, the mean of their scores counts.
    """
    counts = [[row_counts(metric, gold, predicted, scorer) for predicted in side] for side in (ones, others)]
    if not all(counts) or any(one is None for side in counts for one in side):
        return None
    rows = len(gold)

    def mean(drawn: Floats, side: Sequence[Floats | None]) -> Floats:
        return np.mean([figures(metric, drawn @ one) for one in side if one is not None], axis=0)

    return _percentiles(np.concatenate([mean(d, counts[0]) - mean(d, counts[1]) for d in _draws(rows)]), rows)


def row_counts(metric: str, gold: Sequence[Any], predicted: Sequence[Any], scorer: Scorer = score) -> Floats | None:
    """[R, C] what each row adds to the sums that the metric is made of; None where it is not made of sums."""
    if metric in _OF_LABELS:
        return _label_counts(gold, predicted)
    if metric == "span_f1":
        return np.array([_span_counts(g, p) for g, p in zip(gold, predicted, strict=True)], dtype=float)
    if metric == "token_accuracy":
        pairs = zip(gold, predicted, strict=True)
        return np.array([(sum(map(str.__eq__, g, p)), len(g)) for g, p in pairs], dtype=float)
    if metric in TEXT_METRICS:
        return text_counts(metric, gold, predicted)
    if metric in ("spearman", "pearson"):
        return None  # of a single row they say nothing
    each = [scorer(metric, [g], [p])[metric] for g, p in zip(gold, predicted, strict=True)]
    if not math.isclose(float(np.mean(each)), scorer(metric, gold, predicted)[metric], abs_tol=1e-6):
        return None
    return np.array([(one, 1.0) for one in each])  # a mean over rows


def figures(metric: str, sums: Floats) -> Floats:
    """The metric from sums [..., C] of `row_counts`."""
    if metric in _OF_LABELS:
        right, given, wanted = np.split(sums, 3, axis=-1)  # [..., labels] each
        if metric == "micro_f1":
            return _ratio(2 * right.sum(-1), (given + wanted).sum(-1))
        if metric == "accuracy":
            return _ratio(right.sum(-1), wanted.sum(-1))
        if metric == "macro_f1":  # labels that occur neither in gold nor in the answers do not count
            return _ratio(_ratio(2 * right, given + wanted).sum(-1), (given + wanted > 0).sum(-1))
        rows = wanted.sum(-1)
        spread = (rows**2 - (given**2).sum(-1)) * (rows**2 - (wanted**2).sum(-1))
        return _ratio(right.sum(-1) * rows - (given * wanted).sum(-1), np.sqrt(np.maximum(spread, 0)))
    if metric == "span_f1":
        return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])
    if metric in TEXT_METRICS:
        return text_figures(metric, sums)
    return _ratio(sums[..., 0], sums[..., 1])


def _label_counts(gold: Sequence[Any], predicted: Sequence[Any]) -> Floats:
    """[R, 3 labels]: right, given and wanted, a column per label; a row has one label or a list of them."""
    sides = [[one if isinstance(one, list | tuple) else [one] for one in side] for side in (gold, predicted)]
    place = {label: n for n, label in enumerate(sorted({label for side in sides for row in side for label in row}))}
    wanted, given = (np.zeros((len(gold), len(place))) for _ in sides)
    for table, side in zip((wanted, given), sides, strict=True):
        for n, row in enumerate(side):
            table[n, [place[label] for label in row]] = 1.0
    return np.concatenate([wanted * given, given, wanted], axis=1)


def _span_counts(gold: list[str], predicted: list[str]) -> tuple[int, int, int]:
    from seqeval.metrics.sequence_labeling import get_entities

    wanted, given = set(get_entities(gold)), set(get_entities(predicted))
    return len(wanted & given), len(given), len(wanted)


def _ratio(above: Floats, below: Floats) -> Floats:
    """0 where there is nothing to divide by, as `score` has it."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=np.asarray(below) != 0)


def _draws(rows: int) -> Iterator[Floats]:
    """How often each row is drawn, [resamples, R], in blocks that stay small."""
    for start in range(0, RESAMPLES, _AT_ONCE):
        yield _block(rows, start)


@lru_cache(maxsize=RESAMPLES // _AT_ONCE)
def _block(rows: int, start: int) -> Floats:
    random = np.random.default_rng([_SEED, start])
    return random.multinomial(rows, np.full(rows, 1 / rows), size=_AT_ONCE).astype(float)


def _percentiles(drawn: Floats, rows: int) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), rows, "bootstrap")


def _wilson(share: float, rows: int) -> tuple[float, float]:
    z = 1.959964  # the normal quantile of LEVEL
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)
