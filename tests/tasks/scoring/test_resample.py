"""Intervals: the sums give the metric itself, and an interval says what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tasks.scoring.metrics import score
from pipeline.tasks.scoring.resample import difference, figures, interval, row_counts

LABELS = st.sampled_from(["a", "b", "c", "d"])
TAGS = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])


def rows_of(answers):
    return st.lists(st.tuples(answers, answers), min_size=1, max_size=30)


def tags_of(count):
    return st.tuples(*(st.lists(TAGS, min_size=count, max_size=count) for _ in range(2)))


TAGGED = st.lists(st.integers(1, 6).flatmap(tags_of), min_size=1, max_size=12)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc"])
@given(rows=rows_of(LABELS), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_sums_of_labels_give_the_metric_of_any_resample(metric, rows, data):
    check_resample(metric, rows, data)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("metric", ["span_f1", "token_accuracy"])
@given(rows=TAGGED, data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_sums_of_tags_give_the_metric_of_any_resample(metric, rows, data):
    check_resample(metric, rows, data)


def check_resample(metric, rows, data):
    gold, predicted = map(list, zip(*rows, strict=True))
    drawn = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=len(rows), max_size=len(rows)))
    times = np.bincount(drawn, minlength=len(rows)).astype(float)
    expected = score(metric, [gold[n] for n in drawn], [predicted[n] for n in drawn])[metric]
    assert figures(metric, times @ row_counts(metric, gold, predicted)) == pytest.approx(expected, abs=1e-9)


def test_a_share_of_rows_gets_wilson_s_interval():
    found = interval("accuracy", ["a"] * 10, ["a"] * 8 + ["b"] * 2)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (found.rows, found.method) == (10, "wilson")
    sure = interval("accuracy", ["a"] * 10, ["a"] * 10)
    assert (sure.low, sure.high) == pytest.approx((10 / (10 + 1.96**2), 1.0), abs=1e-4)  # all right is not certain


def test_an_interval_is_as_wide_as_the_standard_error_says():
    random = np.random.default_rng(3)
    gold = [["a"]] * 400
    predicted = [["a"] if random.random() < 0.7 else ["b"] for _ in gold]
    found = interval("token_accuracy", gold, predicted)
    share = score("token_accuracy", gold, predicted)["token_accuracy"]
    error = (share * (1 - share) / 400) ** 0.5
    assert found.low < share < found.high and found.method == "bootstrap"
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_what_differs_in_few_rows_differs_surely_when_the_rows_are_paired():
    gold = ["a"] * 300
    worse = ["a"] * 150 + ["b"] * 150
    better = ["a"] * 165 + ["b"] * 135  # right wherever the other is, and in 15 rows more
    found = difference("accuracy", gold, [better], [worse])
    assert 0 < found.low < 0.05 < found.high
    assert found.high < interval("accuracy", gold, better).high - interval("accuracy", gold, worse).low
    turned = difference("accuracy", gold, [worse], [better])
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_of_several_seeds_the_mean_counts():
    gold = ["a"] * 200
    one, other = ["a"] * 120 + ["b"] * 80, ["a"] * 80 + ["b"] * 120
    found = difference("accuracy", gold, [one, other], [one, other])
    assert (found.low, found.high) == (0, 0)
    assert difference("accuracy", gold, [], [one]) is None


def test_intervals_repeat():
    gold, predicted = ["a", "b"] * 50, ["a"] * 100
    assert interval("macro_f1", gold, predicted) == interval("macro_f1", gold, predicted)


def test_a_metric_that_is_a_mean_over_rows_is_resampled_and_any_other_is_not():
    def half(metric, gold, predicted):
        right = [float(g == p) for g, p in zip(gold, predicted, strict=True)]
        return {"half": sum(right) / 2 / len(right), "longest": float(max(right) * len(right))}

    gold, predicted = ["a"] * 40, ["a"] * 20 + ["b"] * 20
    found = interval("half", gold, predicted, half)
    assert found.low < 0.25 < found.high < 0.5
    assert interval("longest", gold, predicted, half) is None
    assert difference("longest", gold, [predicted], [predicted], half) is None
