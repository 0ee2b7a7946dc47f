"""What an ensemble is for: dev chooses, an independent test split of the same candidates says what that was worth."""

from __future__ import annotations

import numpy as np

from pipeline.prompts import COMBINATIONS
from tests.training.choice.test_greedy import choose, noise, ranking, split


def naive(p, labels, size):
    """Greedy on the metric, all judged on the rows it chose by: (dev score, members) of the best length."""
    order, path, best = ranking(p, labels), [], (-1.0, [])
    for _ in range(size):
        scores = [(p[[*path, k]].mean(0).argmax(-1) == labels).double().mean().item() for k in order]
        path.append(order[int(np.argmax(scores))])
        best = max(best, (max(scores), list(path)), key=lambda one: one[0])
    return best


def simulate(make, seeds=50):
    """Means over seeds: accuracy on dev and on test of the single best, the chosen ensemble and the naive one."""
    figures = []
    for seed in range(seeds):
        dev, (p, labels) = make(seed)

        def test(members, combine="mean", p=p, labels=labels):
            return (COMBINATIONS[combine](p[list(members)]).argmax(-1) == labels).double().mean().item()

        chosen, (optimism, greedy) = choose(*dev), naive(*dev, 5)
        figures.append(
            {
                "single": test(ranking(*dev)[:1]),
                "dev": chosen.score,
                "held_out": chosen.held_out,
                "test": test(chosen.members, chosen.combine),
                "naive dev": optimism,
                "naive test": test(greedy),
            }
        )
    return {name: float(np.mean([one[name] for one in figures])) for name in figures[0]}


def test_luck_on_dev_is_not_mistaken_for_skill():
    mean = simulate(noise)
    assert mean["test"] >= mean["single"] - 0.005
    assert mean["dev"] < mean["naive dev"] - 0.03
    assert mean["held_out"] - mean["test"] < 0.5 * (mean["naive dev"] - mean["naive test"])


def test_an_expert_among_noise_is_not_diluted():
    skill = np.array([2.0] + [0.0] * 23)[:, None, None]
    mean = simulate(lambda seed: split(seed, 24, skill, shared=0.0))
    assert mean["test"] >= mean["single"] - 0.005
    assert mean["test"] > mean["naive test"] + 0.005
    assert abs(mean["held_out"] - mean["test"]) < 0.01 < 0.03 < mean["naive dev"] - mean["naive test"]


def test_where_candidates_err_apart_the_ensemble_is_better_on_fresh_data():
    mean = simulate(lambda seed: split(seed, 24, skill=1.0, shared=0.5))
    assert mean["test"] > mean["single"] + 0.03
    assert mean["held_out"] - mean["test"] < 0.5 * (mean["naive dev"] - mean["naive test"])


def test_where_candidates_err_alike_the_ensemble_costs_nothing():
    mean = simulate(lambda seed: split(seed, 24, skill=1.5, shared=0.95, rows=100))
    assert mean["test"] >= mean["single"] - 0.005
