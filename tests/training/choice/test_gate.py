"""The gate's statistics: a paired interval, McNemar's test, and the decision that follows."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.training.choice.gate import Bounds, Comparison, compare, judge, mcnemar


def wrong(rows, places):
    return ["no" if place in places else "yes" for place in range(rows)]


def test_the_same_seed_gives_the_same_interval_and_the_interval_holds_the_gain():
    gold, old, new = wrong(200, ()), wrong(200, range(40)), wrong(200, range(20, 50))
    found = compare("accuracy", gold, old, new, seed=3)
    assert found == compare("accuracy", gold, old, new, seed=3)
    assert found.interval != compare("accuracy", gold, old, new, seed=4).interval
    assert (found.champion, found.challenger) == (0.8, 0.85) and found.gain == pytest.approx(0.05)
    low, high = found.interval
    assert low < found.gain < high
    # The rows are paired: the deviation of a difference of 20 and 10 discordant rows in 200.
    deviation = np.sqrt((30 / 200 - 0.05**2) / 200)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_a_metric_without_counts_is_scored_on_each_draw(monkeypatch):
    from pipeline.training.choice import gate

    gold, old, new = wrong(30, ()), wrong(30, range(9)), wrong(30, range(5, 11))
    fast = compare("accuracy", gold, old, new, resamples=150)
    monkeypatch.setattr(gate, "row_counts", lambda *arguments: None)
    assert compare("accuracy", gold, old, new, resamples=150).interval == pytest.approx(fast.interval, abs=1e-12)


def test_mcnemar_counts_the_discordant_rows_and_is_the_exact_binomial_test():
    gold, old, new = wrong(20, ()), wrong(20, range(8)), wrong(20, range(7, 9))
    found = mcnemar(gold, old, new)  # rows 0-6: only the challenger; row 8: only the champion
    assert (found.only_challenger, found.only_champion) == (7, 1)
    assert found.p == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(gold, old, old).p == 1.0


def test_mcnemar_is_not_asked_where_a_row_is_not_simply_right_or_wrong():
    rows = [["O", "B-item"], ["B-item", "O"]]
    assert compare("span_f1", rows, rows, rows, resamples=10).mcnemar is None
    assert compare("accuracy", ["yes"], ["yes"], ["yes"], resamples=10).mcnemar is not None


def found(gain, low, high):
    return Comparison("accuracy", 100, 0.8, 0.8 + gain, gain, (low, high), 0.95, 2000, 0, None)


@pytest.mark.parametrize(
    ("gain", "low", "high", "bounds", "decision"),
    [
        (0.03, 0.01, 0.05, Bounds(), "promote"),
        (0.00, 0.00, 0.00, Bounds(), "promote"),  # the very same answers
        (0.01, -0.01, 0.03, Bounds(), "promote"),  # surely no loss of more than the bound
        (0.01, -0.03, 0.05, Bounds(), "challenger"),  # it may be worse by more than the bound
        (-0.01, -0.015, 0.01, Bounds(), "challenger"),  # no gain
        (0.01, 0.005, 0.02, Bounds(min_gain=0.02), "challenger"),  # surely better, but by too little
        (-0.01, -0.019, -0.001, Bounds(), "reject"),  # a little worse, but surely
        (-0.03, -0.06, 0.01, Bounds(), "reject"),  # worse by more than the bound
        (-0.03, -0.06, 0.01, Bounds(min_gain=-0.05, max_loss=0.1), "promote"),
    ],
)
def test_decisions(gain, low, high, bounds, decision):
    decided, why = judge(found(gain, low, high), bounds)
    assert decided == decision
    assert why.startswith(f"{gain:+.4f} [{low:+.4f}, {high:+.4f}] on 100 rows")
