"""Where a prompt starts: small noise, real activations, or another prompt cut or extended.

Initialisers are plain functions chosen by name. They draw from a generator of their own, so that a prompt's start
depends on its seed alone and never on what else was drawn before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CaptureStates = Callable[[Tensor], Tensor]
"""Token ids [P] → the keys and values the frozen backbone computes for them, [L, 2, H, P, D]."""

INITIALISERS = ("vocabulary", "normal")
STANDARD_DEVIATION = 0.02


def normal(shape: tuple[int, int, int, int], seed: int) -> Tensor:
    """N(0, 0.02²), as P-tuning v2's released code ends up with.

    Args:
        shape: (L, H, P, D).

    Returns:
        [L, 2, H, P, D].
    """
    layers, heads, places, size = shape
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(layers, 2, heads, places, size, generator=draw) * STANDARD_DEVIATION


def vocabulary(capture: CaptureStates, ordinary_tokens: Tensor, places: int, seed: int) -> Tensor:
    """Keys and values that the frozen backbone itself computes for sampled vocabulary tokens.

    Lester et al. (2021, section 3.2) sample input embeddings; a deep prompt takes the same idea to every layer.
    Starting from a real key/value cache is what rescued prefix tuning in PEFT's own benchmark.

    Args:
        capture: runs the backbone.
        ordinary_tokens: ids to sample from (no special tokens).
        places: P.

    Returns:
        [L, 2, H, P, D].
    """
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(ordinary_tokens), generator=draw)[:places]
    if places > len(chosen):  # a tiny vocabulary: repeat
        chosen = chosen.repeat(-(-places // max(len(chosen), 1)))[:places]
    return capture(ordinary_tokens[chosen])


def resize(prompt: Tensor, places: int, filler: Callable[[int], Tensor]) -> Tensor:
    """Another prompt's first `places` places; where it has fewer, `filler` makes the rest.

    Args:
        prompt: [L, 2, H, P, D].
        filler: how many places → [L, 2, H, that many, D].

    Returns:
        [L, 2, H, places, D].
    """
    missing = places - prompt.shape[3]
    if missing <= 0:
        return prompt[:, :, :, :places].clone()
    return torch.cat([prompt, filler(missing)], dim=3)
