"""When cells are cut, and which stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.adaptation.halving import deal_cells, rungs, survivors, training_share
from pipeline.training.candidates import Candidate


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


CELLS = st.tuples(
    st.sampled_from(["shared", "scratch"]), st.integers(1, 4), st.integers(0, 3), st.sampled_from([1e-3, 1e-2])
)


@given(
    st.lists(CELLS, min_size=1, max_size=24, unique=True),
    st.integers(1, 3),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_candidates_are_dealt_to_brackets(cells, seeds, brackets, random):
    candidates = [Candidate(*cell, seed) for cell in cells for seed in range(seeds)]
    random.shuffle(candidates)
    dealt = deal_cells(candidates, brackets)
    assert sorted(place for places in dealt for place in places) == list(range(len(candidates)))
    assert all(places for places in dealt)
    found = [{candidates[n].cell for n in places} for places in dealt]
    assert sum(map(len, found)) == len(set().union(*found)) == len(cells)  # whole cells
    own = {start: sum(cell[0] == start for cell in cells) for start, *_ in cells}
    assert len(dealt) == min(brackets, *own.values(), 99)
    for start, count in own.items():
        shares = [sum(cell[0] == start for cell in one) for one in found]
        assert min(shares) == count // len(dealt) and max(shares) - min(shares) <= 1


@given(st.integers(1, 500), st.integers(1, 200), st.integers(2, 6))
def test_cuts_come_one_after_the_other_and_leave_someone(steps, cells, factor):
    cuts = rungs(steps, cells, factor)
    assert list(cuts) == sorted(set(cuts)) and all(0 < cut < steps for cut in cuts)
    assert factor ** len(cuts) <= cells
    left = cells
    for _ in cuts:
        left = -(-left // factor)
    assert left >= 1
    assert 1 / cells <= training_share(steps, cells, factor) <= 1
    assert (training_share(steps, cells, factor) < 1) == bool(cuts)
