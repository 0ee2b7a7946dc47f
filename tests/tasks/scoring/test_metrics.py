from __future__ import annotations

import pytest
import torch

from pipeline.tasks import TASK_TYPES, Reading, score


@pytest.mark.parametrize(
    ("kind", "labels", "expected"),
    [
        ("classification", ["a", "b"], "accuracy"),
        ("pair", ["B-X", "O"], "accuracy"),
        ("token", ["O", "B-PER", "I-PER"], "span_f1"),
        ("token", ["B-PER", "O"], "span_f1"),
        ("token", ["O", "B", "I"], "span_f1"),
        ("token", ["NOUN", "VERB"], "token_accuracy"),
        ("token", ["O", "PER"], "token_accuracy"),
        ("multilabel", ["a"], "micro_f1"),
        ("qa", [], "f1"),
    ],
)
def test_the_metric_follows_from_type_and_tags(kind: str, labels: list[str], expected: str) -> None:
    assert TASK_TYPES[kind].metric_for(labels) == expected


def read(kind: str, labels: tuple[str, ...], metric: str, p: list[list[float]], **row: object) -> object:
    words = row.pop("words", [0])
    return TASK_TYPES[kind].read(Reading(torch.tensor(p), {"words": words}, row), labels, metric, None)


def test_label_metrics_by_hand() -> None:
    gold, predicted = ["a", "a", "a", "b"], ["a", "a", "b", "b"]
    figures = score("accuracy", gold, predicted)
    assert figures == pytest.approx({"accuracy": 0.75, "macro_f1": (0.8 + 2 / 3) / 2})
    assert score("macro_f1", gold, predicted) == figures
    # (TP TN - FP FN) / sqrt(...) with b positive: (1*2 - 1*0) / sqrt(2*1*3*2)
    assert score("mcc", gold, predicted)["mcc"] == pytest.approx(2 / 12**0.5)


def test_span_f1_by_hand() -> None:
    gold = [["B-X", "I-X", "O"], ["B-Y", "O", "B-X"]]
    predicted = [["B-X", "I-X", "O"], ["B-Y", "I-Y", "O"]]
    figures = score("span_f1", gold, predicted)
    assert figures == pytest.approx({"span_f1": 0.4, "precision": 1 / 2, "recall": 1 / 3})


def test_a_span_that_begins_with_i_is_read_as_a_span() -> None:
    assert score("span_f1", [["O", "B-X", "I-X"]], [["O", "I-X", "I-X"]])["span_f1"] == 1


def test_no_span_at_all_scores_nothing() -> None:
    assert score("span_f1", [["O", "B-X"]], [["O", "O"]]) == {"span_f1": 0, "precision": 0, "recall": 0}


def test_token_accuracy_counts_words_not_rows() -> None:
    assert score("token_accuracy", [["N", "V", "N"], ["V"]], [["N", "V", "V"], ["N"]]) == {"token_accuracy": 0.5}


def test_shapes_must_agree() -> None:
    for gold, predicted in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="gold rows"):
            score("accuracy", gold, predicted)
    with pytest.raises(ValueError, match="more or fewer"):
        score("span_f1", [["O", "O"]], [["O"]])
    with pytest.raises(ValueError, match="unknown metric"):
        score("bleu", ["a"], ["a"])


def test_sentence_answers_are_labels() -> None:
    labels = ("no", "yes")
    assert [read("pair", labels, "accuracy", [p]) for p in ([0.1, 0.9], [0.9, 0.1])] == ["yes", "no"]


def test_words_without_an_answer_count_as_misses() -> None:
    gold = [["B-X", "O", "B-X", "B-X"]]
    both = [[1.0, 0.0], [1.0, 0.0]]
    spans = [read("token", ("B-X", "O"), "span_f1", both, words=[0, 2], tags=gold[0])]
    assert spans == [["B-X", "O", "B-X", "O"]]
    assert score("span_f1", gold, spans)["recall"] == pytest.approx(2 / 3)
    tags = [read("token", ("B-X", "O"), "token_accuracy", both, words=[0, 2], tags=gold[0])]
    assert score("token_accuracy", gold, tags) == {"token_accuracy": 0.5}


def test_answers_must_match_their_words() -> None:
    with pytest.raises(ValueError, match="zip"):
        read("token", ("B-X", "O"), "span_f1", [[1.0, 0.0], [1.0, 0.0]], words=[0], tags=["O", "O"])


def test_correlations_by_hand() -> None:
    """Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15); values 1 2 3 4 against 0 2 1 3."""
    figures = score("spearman", [1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 1.0, 3.0])
    assert figures == pytest.approx({"spearman": 0.8, "pearson": 0.8})
    assert score("pearson", [1.0, 2.0, 3.0], [1.0, 10.0, 100.0])["spearman"] == pytest.approx(1)
    assert score("pearson", [1.0, 2.0, 3.0], [1.0, 10.0, 100.0])["pearson"] == pytest.approx(99 / (2 * 5994) ** 0.5)
    assert score("spearman", [1.0, 2.0], [5.0, 5.0]) == {"spearman": 0.0, "pearson": 0.0}


def test_label_sets_by_hand() -> None:
    """a: 1 right, 1 missed; b: 1 right, 1 too many; c: 1 too many, known to nobody. Micro 2*2 / (2*2 + 1 + 2)."""
    figures = score("label_set_f1", [["a"], ["a", "b"], []], [["a"], ["b"], ["b", "c"]])
    assert figures == pytest.approx({"micro_f1": 4 / 7, "macro_f1": (2 / 3 + 2 / 3 + 0) / 3})
    assert score("label_set_f1", [[], []], [[], []]) == {"micro_f1": 0.0, "macro_f1": 0.0}


@pytest.mark.parametrize(
    ("references", "told", "f1", "exact"),
    [
        (["Denver Broncos"], "the Denver Broncos!", 1.0, 1.0),  # articles, case and punctuation do not count
        (["in the Denver Broncos team"], "Denver Broncos", 2 * 1.0 * 0.5 / 1.5, 0.0),
        (["1973", "October 1973"], "October 1973", 1.0, 1.0),  # the best reference
        (["1973", "October"], "in October 1973", 0.5, 0.0),
        ([], "", 1.0, 1.0),
        ([], "something", 0.0, 0.0),
        (["something"], "", 0.0, 0.0),
    ],
)
def test_squad_by_hand(references: list[str], told: str, f1: float, exact: float) -> None:
    gold = [{"text": references, "answer_start": [0] * len(references)}]
    assert score("f1", gold, [told]) == pytest.approx({"f1": f1, "exact": exact}, abs=1e-6)
