"""A step's rows are packed, none lost, none twice, no pass too wide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.passes.packing import SCORES_PER_PASS, Padding, Unit, pack, room_for

units = st.lists(
    st.builds(
        Unit,
        search=st.integers(0, 2),
        example=st.integers(0, 5),
        tokens=st.integers(1, 40),
        prompt=st.integers(0, 9),
        places=st.sampled_from([2, 8, 32]),
        first_layer=st.integers(0, 2),
    ),
    max_size=60,
)


def width(one):
    return max(unit.tokens for unit in one) + max(unit.places for unit in one)


@given(units, st.integers(1, 400))
def test_every_row_is_in_one_pass_and_no_pass_is_too_wide(units, limit):
    passes = pack(units, limit)
    assert sorted(map(repr, (unit for one in passes for unit in one))) == sorted(map(repr, units))
    assert all(len(one) == 1 or len(one) * width(one) <= limit for one in passes)


def test_rows_of_one_kind_share_a_pass_once_it_is_half_full():
    kinds = [(0, 8), (0, 32), (3, 8)]
    rows = [Unit(0, e, 10, n, places, first) for n, (first, places) in enumerate(kinds) for e in range(4)]
    passes = pack(rows, limit=4 * 18)
    assert all(len({(unit.first_layer, unit.places) for unit in one}) == 1 for one in passes)


def test_padding_is_what_nobody_asked_for():
    padding = Padding()
    padding.count([Unit(0, 0, 6, 0, 4, 0), Unit(0, 1, 2, 0, 4, 0)])
    assert padding.fraction == 1 - (10 + 6) / 20
    assert Padding().fraction == 0.0


@given(st.integers(1, 10**6), st.integers(1, 10**9))
def test_the_scores_of_a_whole_vocabulary_bound_a_pass(tokens, vocabulary):
    room = room_for(tokens, vocabulary)
    assert 1 <= room <= tokens and (room == 1 or room * vocabulary <= SCORES_PER_PASS)
    assert room == tokens or (room + 1) * vocabulary > SCORES_PER_PASS
    assert room_for(tokens, 0) == tokens
