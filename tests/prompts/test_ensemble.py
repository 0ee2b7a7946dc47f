"""Members of an ensemble answer together: by mean probability, or by majority with the mean to break ties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts import COMBINATIONS, majority_vote, mean_vote

SHAPES = {"members": st.integers(1, 6), "answers": st.integers(1, 8), "classes": st.integers(1, 5)}


def probabilities_of(members, answers, classes, seed):
    """[K, A, C] with coarse steps, so that ties are common."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, (members, answers, classes), generator=draw).float().softmax(-1)


@settings(max_examples=80, deadline=None)
@given(**SHAPES, seed=st.integers(0, 1000))
def test_the_most_votes_win_and_the_mean_breaks_ties(members, answers, classes, seed):
    probabilities = probabilities_of(members, answers, classes, seed)
    winners = majority_vote(probabilities).argmax(-1).tolist()
    for a, winner in enumerate(winners):
        ballots = probabilities[:, a].argmax(-1).tolist()
        counts = [ballots.count(c) for c in range(classes)]
        assert counts[winner] == max(counts)
        means = probabilities[:, a].mean(0)
        assert all(means[winner] >= means[c] - 1e-6 for c in range(classes) if counts[c] == max(counts))


@settings(max_examples=40, deadline=None)
@given(**SHAPES, seed=st.integers(0, 1000))
def test_both_give_probabilities(members, answers, classes, seed):
    probabilities = probabilities_of(members, answers, classes, seed)
    for combine in COMBINATIONS.values():
        combined = combine(probabilities)
        assert combined.shape == (answers, classes)
        assert bool((combined >= 0).all()) and torch.allclose(combined.sum(-1), torch.ones(answers), atol=1e-5)


def test_one_member_answers_as_alone():
    probabilities = probabilities_of(1, 6, 4, 3)
    assert torch.equal(mean_vote(probabilities), probabilities[0])
    assert torch.equal(majority_vote(probabilities).argmax(-1), probabilities[0].argmax(-1))


def test_vote_and_mean_can_disagree():
    """Two lukewarm members against one that is sure."""
    probabilities = torch.tensor([[[0.55, 0.45]], [[0.55, 0.45]], [[0.0, 1.0]]])
    assert mean_vote(probabilities).argmax(-1).tolist() == [1]
    assert majority_vote(probabilities).argmax(-1).tolist() == [0]


def test_a_tie_goes_to_the_likelier_class():
    probabilities = torch.tensor([[[0.6, 0.4, 0.0]], [[0.1, 0.9, 0.0]]])
    assert majority_vote(probabilities).argmax(-1).tolist() == [1]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_the_order_of_members_does_not_matter(order):
    probabilities = probabilities_of(3, 7, 4, 11)
    for combine in COMBINATIONS.values():
        assert torch.allclose(combine(probabilities[torch.tensor(order)]), combine(probabilities), atol=1e-6)
