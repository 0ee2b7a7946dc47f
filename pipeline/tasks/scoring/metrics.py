"""How good answers are: the field's libraries, under one name per metric.

Every figure lies in 0..1, but `mcc`, `spearman` and `pearson` in -1..1. A metric gives the figure under its own name,
and secondary figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.tasks.scoring.texts import overlap

Metric = Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]
"""Gold and predicted answers, row for row → figures."""


Scorer = Callable[[str, Sequence[Any], Sequence[Any]], dict[str, float]]
"""Metric, gold and predicted answers → figures: `score`, or a task type's own."""


def score(metric: str, gold: Sequence[Any], predicted: Sequence[Any]) -> dict[str, float]:
    """Scores predictions.

    Args:
        metric: a key of `METRICS`. gold, predicted: an answer per row, as the task's type reads it.

    Raises:
        ValueError: an unknown metric, no rows, or gold and predicted of different shape.
    """
    if not gold or len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold rows against {len(predicted)} predicted")
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}")
    return METRICS[metric](gold, predicted)


def _accuracy(gold: Sequence[Any], predicted: Sequence[Any]) -> dict[str, float]:
    """Accuracy and macro F1."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(gold, predicted)),
        "macro_f1": float(f1_score(gold, predicted, average="macro", zero_division=0)),
    }


def _mcc(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Matthews' correlation, beside accuracy and macro F1."""
    from sklearn.metrics import matthews_corrcoef

    return {**_accuracy(gold, predicted), "mcc": float(matthews_corrcoef(gold, predicted))}


def _right(gold: Sequence[int], predicted: Sequence[int]) -> dict[str, float]:
    """Accuracy alone: that of choices, whose numbers mean nothing from row to row."""
    from sklearn.metrics import accuracy_score

    return {"accuracy": float(accuracy_score(gold, predicted))}


def _spans(gold: Sequence[list[str]], predicted: Sequence[list[str]]) -> dict[str, float]:
    """The micro-average over spans of seqeval's default (CoNLL) reading, in which an I-X after O begins a span, with
    precision and recall; tasks without a single gold or predicted span score 0."""
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    _check_words(gold, predicted)
    precision, recall, f1, _ = precision_recall_fscore_support(gold, predicted, average="micro", zero_division=0)
    return {"span_f1": float(f1), "precision": float(precision), "recall": float(recall)}


def _token_accuracy(gold: Sequence[list[str]], predicted: Sequence[list[str]]) -> dict[str, float]:
    """The share of words with the right tag."""
    from sklearn.metrics import accuracy_score

    _check_words(gold, predicted)
    flat_gold = [tag for row in gold for tag in row]
    flat_predicted = [tag for row in predicted for tag in row]
    return {"token_accuracy": float(accuracy_score(flat_gold, flat_predicted))}


def _check_words(gold: Sequence[list[str]], predicted: Sequence[list[str]]) -> None:
    if any(len(one) != len(other) for one, other in zip(gold, predicted, strict=True)):
        raise ValueError("a row has more or fewer predicted than gold tags")


def _correlation(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Correlation of ranks and of values; 0 where one side is constant and neither is defined."""
    from scipy.stats import pearsonr, spearmanr

    if len(gold) < 2 or len(set(gold)) == 1 or len(set(predicted)) == 1:
        return {"spearman": 0.0, "pearson": 0.0}
    figures = {"spearman": spearmanr(gold, predicted).statistic, "pearson": pearsonr(gold, predicted).statistic}
    return {name: 0.0 if math.isnan(value) else float(value) for name, value in figures.items()}


def _label_sets(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1 over all decisions, and its mean over labels; a label that only one side knows counts."""
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    binary = MultiLabelBinarizer().fit([*gold, *predicted])
    right, told = binary.transform(gold), binary.transform(predicted)
    if not len(binary.classes_):  # nobody says anything, rightly
        return {"micro_f1": 0.0, "macro_f1": 0.0}
    return {
        f"{average}_f1": float(f1_score(right, told, average=average, zero_division=0))
        for average in ("micro", "macro")
    }


def _squad(gold: Sequence[Mapping[str, Any]], predicted: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 of words, the best over a row's references (Rajpurkar et al. 2016, section 6.1); a row
    without an answer is right where nothing is said (Rajpurkar et al. 2018)."""
    from torchmetrics.functional.text.squad import squad

    rows = range(len(gold))
    told = [{"prediction_text": predicted[n], "id": str(n)} for n in rows]
    # as the official script of version 2 does it: a row without an answer has the empty text as its only one
    right = [{"answers": {"text": list(gold[n]["text"]) or [""], "answer_start": []}, "id": str(n)} for n in rows]
    found = squad(told, right)
    return {"f1": float(found["f1"]) / 100, "exact": float(found["exact_match"]) / 100}


METRICS: Mapping[str, Metric] = {
    "accuracy": _accuracy,
    "macro_f1": _accuracy,
    "mcc": _mcc,
    "choice_accuracy": _right,
    "span_f1": _spans,
    "token_accuracy": _token_accuracy,
    "spearman": _correlation,
    "pearson": _correlation,
    "label_set_f1": _label_sets,
    "f1": _squad,
    "exact": _squad,
    "text_overlap": overlap,
}
