"""How several prompts of a task answer together.

Lester et al. (2021, section 6) combine the prompts of one frozen model by majority vote; the mean of the probabilities
keeps how sure each member is. Which of the two answers for a task is chosen on dev.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def mean_vote(probabilities: Tensor) -> Tensor:
    """The mean of the members' probabilities.

    Args:
        probabilities: [K, A, C], each row of C adding up to 1.

    Returns:
        [A, C], rows adding up to 1.
    """
    return probabilities.mean(0)


def majority_vote(probabilities: Tensor) -> Tensor:
    """Each member votes for its likeliest class; the mean probability breaks a tie.

    The mean is counted as one vote more, divided among the classes. Were class c one vote behind class d, the members
    that voted for d gave d no less than c, so the mean of c is ahead by less than one vote: it decides ties and nothing
    else. Classes with as many votes and the same mean are as likely as each other; `argmax` then takes the first.

    Args:
        probabilities: [K, A, C], each row of C adding up to 1.

    Returns:
        [A, C], rows adding up to 1, the answer at the largest.
    """
    members, _, classes = probabilities.shape
    votes = torch.nn.functional.one_hot(probabilities.argmax(-1), classes).sum(0)  # [A, C]
    return (votes + probabilities.mean(0)) / (members + 1)


COMBINATIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": mean_vote, "vote": majority_vote}
"""Name → [K, A, C] to [A, C]."""
