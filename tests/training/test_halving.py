"""When cells are cut, and which stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.halving import rungs, survivors, training_share


@given(st.integers(1, 500), st.integers(1, 200), st.integers(2, 5))
def test_cuts_ascend_and_leave_somebody(steps, cells, factor):
    cuts = rungs(steps, cells, factor)
    assert list(cuts) == sorted(set(cuts)) and all(1 <= cut < steps for cut in cuts)
    left = cells
    for _ in cuts:
        left = len(survivors({n: (float(n), 0.0) for n in range(left)}, factor))
    assert left >= 1 and 0 < training_share(steps, cells, factor) <= 1


def test_twenty_four_cells_cost_the_steps_of_six():
    assert rungs(180, 24, 3) == (20, 60)
    assert training_share(180, 24, 3) * 24 == (24 * 20 + 8 * 40 + 3 * 120) / 180


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 0)), min_size=1, max_size=30), st.integers(2, 4))
def test_nobody_who_stays_is_worse_than_one_who_goes(merits, factor):
    told = dict(enumerate(merits))
    stay = survivors(told, factor)
    assert len(stay) == -(-len(merits) // factor)
    gone = [merit for n, merit in told.items() if n not in stay]
    assert not gone or min(told[n] for n in stay) >= max(gone)
