"""Rows of unequal length go into the passes that compute least, none lost, none twice."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.passes.splitting import MOST_PARTS, PASS_COST, Size, parts_worth, split

rows = st.lists(st.builds(Size, sequences=st.integers(1, 3), width=st.integers(1, 12)), min_size=1, max_size=12)


def computed(rows, parts):
    """What passes compute, padding included."""
    return sum(sum(rows[n].sequences for n in part) * max(rows[n].width for n in part) for part in parts)


def best(rows, parts):
    """The least that any cut of the rows, sorted by width, computes; by trying them all."""
    order = sorted(range(len(rows)), key=lambda n: rows[n].width)
    cuts = combinations(range(1, len(rows)), parts - 1)
    bounds = [[0, *cut, len(rows)] for cut in cuts]
    return min(computed(rows, [order[a:b] for a, b in pairwise(one)]) for one in bounds)


@given(rows, st.data())
def test_every_row_is_in_one_of_so_many_passes_that_compute_the_least(rows, data):
    parts = data.draw(st.integers(1, min(len(rows), 5)))
    found = split(rows, parts)
    assert len(found) == parts and all(found)
    assert sorted(n for part in found for n in part) == list(range(len(rows)))
    assert all(part == sorted(part) for part in found)
    assert computed(rows, found) == best(rows, parts)


@given(rows, st.integers(1, 6), st.integers(1, 3))
def test_a_pass_more_is_worth_what_it_saves(rows, most, ranks):
    found = parts_worth(rows, "cpu", most, ranks)
    possible = range(1, min(most, MOST_PARTS, len(rows)) + 1)
    costs = {parts: best(rows, parts) / ranks + parts * PASS_COST["cpu"] for parts in possible}
    assert costs[found] == min(costs.values())


def test_long_rows_among_short_ones_go_by_themselves():
    rows = [Size(1, 20)] * 40 + [Size(1, 200)] * 8
    assert parts_worth(rows, "cpu", most=48) == 2
    assert split(rows, 2) == [list(range(40, 48)), list(range(40))]
    assert parts_worth(rows, "cpu", most=1) == 1 == parts_worth([Size(1, 20)] * 40, "cpu", most=40)
