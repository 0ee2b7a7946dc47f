"""Which task's prompt is most like another's: where an adaptation starts, when there is a prompt per task.

Vu et al. (2022, "SPoT", section 3.2): a task's embedding is the prompt trained on it, two tasks are as similar as the
cosine of their prompts averaged over places, and a target starts from the most similar source. Here all prompts begin
at one start, which is taken away first: it is most of every prompt, and with it all cosines would be near 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.prompts.initialise import place_axis


def similarities(prompts: Sequence[Tensor], start: Tensor) -> Tensor:
    """Cosines between what training added to each prompt, averaged over places, [K, K].

    Args:
        prompts: K of them, [L, 2, H, P, D] or [P, E] each. start: what all began with.
    """
    moved = torch.stack([(one - start).mean(place_axis(start)).flatten() for one in prompts])  # [K, numbers of a place]
    unit = F.normalize(moved.double(), dim=1)
    return (unit @ unit.T).float()


def nearest_source(target: str, matrix: Mapping[str, Mapping[str, float]], sources: Collection[str]) -> str:
    """The source whose prompt is most like the target's; never the target itself.

    Args:
        matrix: task → task → similarity.
    """
    others = [name for name in matrix[target] if name in sources and name != target]
    return max(others, key=lambda name: matrix[target][name])
