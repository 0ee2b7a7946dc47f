from __future__ import annotations

import pytest

from pipeline.tasks import DataSource, TaskSpec, decode_answers, resolve_metric, score

SOURCE = DataSource(path="data")


@pytest.mark.parametrize(
    ("kind", "metric", "labels", "expected"),
    [
        ("classification", "auto", ["a", "b"], "accuracy"),
        ("pair", "auto", ["B-X", "O"], "accuracy"),
        ("pair", "mcc", ["a", "b"], "mcc"),
        ("token", "auto", ["O", "B-PER", "I-PER"], "span_f1"),
        ("token", "auto", ["B-PER", "O"], "span_f1"),
        ("token", "auto", ["O", "B", "I"], "span_f1"),
        ("token", "auto", ["NOUN", "VERB"], "token_accuracy"),
        ("token", "auto", ["O", "PER"], "token_accuracy"),
        ("token", "token_accuracy", ["O", "B-PER"], "token_accuracy"),
    ],
)
def test_the_metric_follows_from_type_and_tags(kind: str, metric: str, labels: list[str], expected: str) -> None:
    assert resolve_metric(TaskSpec("t", kind, SOURCE, metric=metric), labels) == expected


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
    assert decode_answers(("no", "yes"), "accuracy", [[1], [0]], [[0], [0]], ["yes", "no"]) == ["yes", "no"]


def test_words_without_an_answer_count_as_misses() -> None:
    gold = [["B-X", "O", "B-X", "B-X"]]
    spans = decode_answers(("B-X", "O"), "span_f1", [[0, 0]], [[0, 2]], gold)
    assert spans == [["B-X", "O", "B-X", "O"]]
    assert score("span_f1", gold, spans)["recall"] == pytest.approx(2 / 3)
    tags = decode_answers(("B-X", "O"), "token_accuracy", [[0, 0]], [[0, 2]], gold)
    assert score("token_accuracy", gold, tags) == {"token_accuracy": 0.5}


def test_answers_must_match_their_words() -> None:
    with pytest.raises(ValueError, match="zip"):
        decode_answers(("B-X", "O"), "span_f1", [[0, 0]], [[0]], [["O", "O"]])
