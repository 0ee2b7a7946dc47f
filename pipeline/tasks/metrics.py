"""How good answers are, and how class ids at answer positions become answers again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.tasks.labels import looks_like_bio
from pipeline.tasks.spec import TASK_TYPES, TaskSpec

LOST = ""  # the answer for a word that has none; no label is empty, so it is always a miss


def resolve_metric(spec: TaskSpec, labels: Iterable[str]) -> str:
    """The metric of a task: the configured one; else accuracy, or for token tasks span F1 if the tags are BIO."""
    if spec.metric != "auto":
        return spec.metric
    if spec.type == "token":
        return "span_f1" if looks_like_bio(labels) else "token_accuracy"
    return TASK_TYPES[spec.type].metrics[0]


def score(metric: str, gold: Sequence[Any], predicted: Sequence[Any]) -> dict[str, float]:
    """Scores predictions; every figure lies in 0..1, but mcc in -1..1.

    Args:
        metric: "accuracy", "macro_f1" or "mcc" (label per row), "span_f1" or "token_accuracy" (tags per row).
        gold: list[str], or list[list[str]] for the token metrics.
        predicted: as `gold`, row for row and word for word (see `decode_answers`).

    Returns:
        The figure under the metric's own name, and secondary figures: accuracy and macro_f1 for labels; precision and
        recall for spans. Span F1 is the micro-average over spans of seqeval's default (CoNLL) reading, in which an I-X
        after O begins a span; tasks without a single gold or predicted span score 0.

    Raises:
        ValueError: an unknown metric, no rows, or gold and predicted of different shape.
    """
    if not gold or len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold rows against {len(predicted)} predicted")
    if metric in ("span_f1", "token_accuracy"):
        if any(len(one) != len(other) for one, other in zip(gold, predicted, strict=True)):
            raise ValueError("a row has more or fewer predicted than gold tags")
        return _spans(gold, predicted) if metric == "span_f1" else _token_accuracy(gold, predicted)
    if metric in ("accuracy", "macro_f1", "mcc"):
        return _labels(metric, gold, predicted)
    raise ValueError(f"unknown metric {metric!r}")


def _labels(metric: str, gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    figures = {
        "accuracy": float(accuracy_score(gold, predicted)),
        "macro_f1": float(f1_score(gold, predicted, average="macro", zero_division=0)),
    }
    if metric == "mcc":
        figures["mcc"] = float(matthews_corrcoef(gold, predicted))
    return figures


def _spans(gold: Sequence[list[str]], predicted: Sequence[list[str]]) -> dict[str, float]:
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(gold, predicted, average="micro", zero_division=0)
    return {"span_f1": float(f1), "precision": float(precision), "recall": float(recall)}


def _token_accuracy(gold: Sequence[list[str]], predicted: Sequence[list[str]]) -> dict[str, float]:
    from sklearn.metrics import accuracy_score

    flat_gold = [tag for row in gold for tag in row]
    flat_predicted = [tag for row in predicted for tag in row]
    return {"token_accuracy": float(accuracy_score(flat_gold, flat_predicted))}


def decode_answers(
    labels: Sequence[str],
    metric: str,
    ids: Sequence[Sequence[int]],
    words: Sequence[Sequence[int]],
    gold: Sequence[str | list[str]],
) -> list[Any]:
    """Class ids at answer positions as answers that `score` compares with the gold ones.

    Args:
        labels: the task's, in the order of the class ids.
        metric: decides what a word without an answer gets: O for span F1, `LOST` else, so it is a miss either way.
        ids: class ids per row, in the order of the row's answer positions.
        words: the column `words` of the encoded split: which word each answer position answers.
        gold: the gold answers (`Task.gold`); only their number of words is used.

    Returns:
        list[str] for label metrics, list[list[str]] as long as the gold tags for token metrics. Words that truncation
        cut off, or of which the tokenizer leaves nothing, count as misses.
    """
    if metric not in ("span_f1", "token_accuracy"):
        return [labels[row[0]] for row in ids]
    lost = "O" if metric == "span_f1" else LOST
    answers: list[list[str]] = []
    for row_ids, row_words, tags in zip(ids, words, gold, strict=True):
        answer = [lost] * len(tags)
        for word, class_id in zip(row_words, row_ids, strict=True):
            answer[word] = labels[class_id]
        answers.append(answer)
    return answers
