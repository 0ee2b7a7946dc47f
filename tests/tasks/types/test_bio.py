"""Tags that are read are BIO, and the likeliest that are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tasks.types.bio import broken_bio, likeliest_bio

LABELS = ("I-a", "O", "B-b", "B-a", "I-b")
BARE = ("O", "B", "I")
SHARES = st.floats(0.0625, 1, width=32)


@st.composite
def rows(draw):
    labels = draw(st.sampled_from([LABELS, BARE, ("B-a", "O")]))
    words = draw(st.integers(1, 4))
    p = draw(st.lists(st.lists(SHARES, min_size=len(labels), max_size=len(labels)), min_size=words, max_size=words))
    joined = [False, *draw(st.lists(st.booleans(), min_size=words - 1, max_size=words - 1))]
    return np.array(p, dtype=np.float32), labels, joined


def pieces(tags, joined):
    """The tags of words that stand side by side."""
    cuts = [n for n, follows in enumerate(joined) if not follows]
    return [tags[a:b] for a, b in zip(cuts, [*cuts[1:], len(tags)], strict=True)]


@given(rows())
def test_the_likeliest_of_all_that_are_bio(row):
    p, labels, joined = row
    worth = {
        path: sum(np.log(p[n, tag].astype(np.float64)) for n, tag in enumerate(path))
        for path in product(range(len(labels)), repeat=len(p))
        if not any(broken_bio([labels[tag] for tag in piece]) for piece in pieces(path, joined))
    }
    found = likeliest_bio(p, labels, joined)
    assert tuple(found) in worth
    assert worth[tuple(found)] == pytest.approx(max(worth.values()))


@given(rows())
def test_tags_that_fit_are_taken_as_they_are(row):
    p, labels, joined = row
    best = p.argmax(1).tolist()
    if not any(broken_bio([labels[tag] for tag in piece]) for piece in pieces(best, joined)):
        assert likeliest_bio(p, labels, joined) == best


def test_a_kind_that_never_opens_is_never_read():
    p = np.array([[0.1, 0.9], [0.1, 0.9]], dtype=np.float32)
    assert likeliest_bio(p, ("O", "I-a"), [False, True]) == [0, 0]


def test_a_sentence_without_answers_has_no_tags():
    assert likeliest_bio(np.zeros((0, 3), dtype=np.float32), BARE, []) == []
