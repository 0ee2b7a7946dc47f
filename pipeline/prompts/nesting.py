"""Nested prompts: any prefix of the shared prompt is a prompt by itself, so that one pretraining serves every length.

Each step trains the first q places only, q drawn anew (the idea of Matryoshka representations, Kusupati et al. 2022,
section 3, with one draw a step instead of a sum over sizes).
"""

from __future__ import annotations

import numpy as np


def nested_places(length: int, seed: int, step: int) -> int:
    """How many places a step trains: the whole prompt in every other step, else any number from an eighth of it.

    Longest first: step 0 trains all places, and the whole prompt, which most uses take, is never rarer than a cut one.
    Halves, quarters and eighths come equally often (the number is drawn uniformly on a logarithmic scale): a uniform
    one would practise a quarter of the prompt, which the search takes as readily as a half, half as often.
    A function of the seed and the step alone, so that every rank and every resumed run draws the same.
    """
    if step % 2 == 0:
        return length
    least = max(1, length // 8)
    drawn = least * (length / least) ** np.random.default_rng([seed & 0xFFFFFFFF, 2, step]).random()
    return min(length, max(1, round(drawn)))
