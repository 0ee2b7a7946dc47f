"""Which training rows a few-shot task keeps."""

from __future__ import annotations

import numpy as np


def few_shot_rows(answers: list[str] | list[list[str]], rows: int, seed: int) -> list[int]:
    """Chooses `rows` training rows, told as indices in ascending order.

    A seeded shuffle is walked; rows that bring a label not yet covered are taken first, then the earliest others. So
    every label keeps a row if `rows` allows, and with the same seed a smaller choice is part of a larger one.
    """
    order = np.random.default_rng(seed).permutation(len(answers)).tolist()
    covering: list[int] = []
    others: list[int] = []
    covered: set[str] = set()
    for index in order:
        answer = answers[index]
        labels = {answer} if isinstance(answer, str) else set(answer)
        (others if labels <= covered else covering).append(index)
        covered |= labels
    return sorted((covering + others)[:rows])
