"""What is chosen on dev, and that test never has a say."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.candidates import Candidate, Trained
from pipeline.training.choice.select import best_cell, choose_winner, ranked


def trained(score, loss=1.0, start="shared", length=8, rate=1e-2, seed=0, first=0, cut=None):
    nothing = torch.zeros(1)
    return Trained(Candidate(start, length, first, rate, seed), score, loss, 1, (), nothing, nothing, nothing, cut)


def test_the_best_dev_score_wins_then_the_lower_loss_then_the_shorter_prompt():
    one = [trained(0.8), trained(0.9, loss=2.0), trained(0.9, loss=1.0, length=16), trained(0.9, loss=1.0, length=8)]
    assert ranked(one) == [3, 2, 1, 0]


def test_the_best_cell_is_of_the_mean_over_seeds_not_of_a_lucky_one():
    one = [
        trained(0.95, length=8, seed=0),
        trained(0.55, length=8, seed=1),
        trained(0.80, length=16, seed=0),
        trained(0.82, length=16, seed=1),
        trained(0.99, start="scratch"),
    ]
    assert best_cell(one, "shared") == [2, 3]
    assert best_cell(one, "scratch") == [4]
    assert best_cell(one[:4], "scratch") == []


def test_the_cheapest_depth_within_the_tolerance_wins():
    one = [trained(0.90, first=0), trained(0.899, first=3), trained(0.895, first=5), trained(0.898, first=3)]
    assert choose_winner(one, 0.0) == 0
    assert choose_winner(one, 0.002) == 1  # of two as deep the better one
    assert choose_winner(one, 0.01) == 2


def test_a_cell_that_was_cut_is_no_best_cell():
    """Its score is of a part of the training: no comparison of starts."""
    assert best_cell([trained(0.9, cut=3), trained(0.8, length=16)], "shared") == [1]


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_ranking_is_a_permutation_from_best_to_worst(scores):
    order = ranked([trained(score) for score in scores])
    assert sorted(order) == list(range(len(scores)))
    assert [scores[n] for n in order] == sorted(scores, reverse=True)
