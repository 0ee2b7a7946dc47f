"""Where a prompt starts: noise, what the frozen backbone makes of tokens, or another prompt cut or extended.

Initialisers are plain functions chosen by name. They draw from a generator of their own, so that a prompt's start
depends on its seed alone and never on what else was drawn before. What the backbone makes of tokens is the layers' keys
and values for a deep prompt and the input embeddings for an input prompt (`States`); the rest is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.prompts.layout import Layout

States = Callable[[Tensor], Tensor]
"""Token ids [P] → what the frozen backbone makes of them, [L, 2, H, P, D] or [P, E]."""

INITIALISERS = ("vocabulary", "normal", "uniform", "text", "labels", "prompt")
STANDARD_DEVIATION = 0.02
RANGE = 0.5


def normal(shape: Sequence[int], seed: int) -> Tensor:
    """N(0, 0.02²), as P-tuning v2's released code ends up with. Its shape is the prompt's."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * STANDARD_DEVIATION


def uniform(shape: Sequence[int], seed: int) -> Tensor:
    """U(-0.5, 0.5), the baseline of Lester et al. (2021, section 3.2)."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * RANGE


def vocabulary(states: States, ordinary_tokens: Tensor, places: int, seed: int) -> Tensor:
    """What the frozen backbone itself makes of sampled vocabulary tokens.

    Lester et al. (2021, section 3.2) sample input embeddings; a deep prompt takes the same idea to every layer.
    Starting from a real key/value cache is what rescued prefix tuning in PEFT's own benchmark.

    Args:
        ordinary_tokens: ids to sample from (no special tokens). places: P.
    """
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(ordinary_tokens), generator=draw)[:places]
    return states(_repeat(ordinary_tokens[chosen], places))  # a tiny vocabulary is repeated


def text(states: States, tokens: Tensor, places: int) -> Tensor:
    """What the backbone makes of a text's tokens, repeated or cut to `places` (PEFT, NeMo)."""
    return states(_repeat(tokens, places))


def labels(states: States, tokens: Sequence[Tensor], places: int, filler: Callable[[int], Tensor]) -> Tensor:
    """One place per class label, the mean over its pieces; where there are more places, `filler` makes the rest.

    Lester et al. (2021, section 3.2): "prompts primed with the strings of the output classes".

    Args:
        tokens: of each label.
    """
    shown = [one for one in tokens if len(one)][:places]
    if not shown:
        return filler(places)
    whole = states(torch.cat(shown))
    axis = place_axis(whole)
    parts = torch.split(whole, [len(one) for one in shown], dim=axis)
    means = [part.mean(axis, keepdim=True) for part in parts]
    return resize(torch.cat(means, dim=axis), places, filler)


def resize(prompt: Tensor, places: int, filler: Callable[[int], Tensor], layout: Layout | None = None) -> Tensor:
    """Another prompt's first `places` places; where it has fewer, `filler` makes the rest.

    Args:
        prompt: [L, 2, H, P, D] or [P, E]. filler: how many places → as many of them.
        layout: of an input prompt; each of its pieces is cut or extended by itself.
    """
    axis = place_axis(prompt)
    if layout is None or len(layout.shares) == 1:
        missing = places - prompt.shape[axis]
        if missing <= 0:
            return prompt.narrow(axis, 0, places).clone()
        return torch.cat([prompt, filler(missing)], dim=axis)
    before, after = layout.divide(prompt.shape[0]), layout.divide(places)
    fresh = filler(max(0, places - prompt.shape[0]))
    new = torch.split(fresh, [max(0, n - m) for m, n in zip(before, after, strict=True)])
    old = torch.split(prompt, before)
    return torch.cat([torch.cat([piece[:n], more]) for piece, n, more in zip(old, after, new, strict=True)])


def place_axis(prompt: Tensor) -> int:
    """The axis that counts places: 3 of [L, 2, H, P, D], 0 of [P, E]."""
    return 3 if prompt.dim() == 5 else 0


def _repeat(tokens: Tensor, places: int) -> Tensor:
    return tokens.repeat(-(-places // max(len(tokens), 1)))[:places]
