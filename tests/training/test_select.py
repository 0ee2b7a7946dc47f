"""What is chosen on dev, and that test never has a say."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.cohort import Candidate, Trained
from pipeline.training.select import best_cell, choose_ensemble, ranked


def trained(score, loss=1.0, start="shared", length=8, rate=1e-2, seed=0):
    nothing = torch.zeros(1)
    return Trained(Candidate(start, length, rate, seed), score, loss, 1, (), nothing, nothing, nothing)


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


def test_an_ensemble_takes_the_size_and_the_vote_that_dev_likes_best():
    gold = torch.tensor([0, 1, 1])
    member = {
        "right on all but 2": [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]],
        "right on all but 1": [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]],
        "always 0": [[0.9, 0.1]] * 3,
    }
    probabilities = torch.tensor(list(member.values()))

    def accuracy(classes):
        return float((classes == gold).float().mean())

    chosen = choose_ensemble([0, 1, 2], probabilities, 3, accuracy)
    assert chosen.members == (0, 1) and chosen.combine == "mean" and chosen.score == 1.0


def test_one_candidate_is_its_own_ensemble():
    chosen = choose_ensemble([0], torch.tensor([[[0.3, 0.7]]]), 3, lambda classes: 1.0)
    assert chosen.members == (0,)


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_ranking_is_a_permutation_from_best_to_worst(scores):
    order = ranked([trained(score) for score in scores])
    assert sorted(order) == list(range(len(scores)))
    assert [scores[n] for n in order] == sorted(scores, reverse=True)
