"""Clipping many prompts at once is clipping each by itself."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.training.clipping import clip_each

SHAPES = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=4)


def made(prompts: list[list[list[int]]], scale: float, seed: int) -> list[list[nn.Parameter]]:
    """Parameters with gradients; some have none."""
    draw = torch.Generator().manual_seed(seed)
    found = [[nn.Parameter(torch.zeros(shape)) for shape in shapes] for shapes in prompts]
    for own in found:
        for n, parameter in enumerate(own):
            if n % 3 != 2:
                parameter.grad = scale * torch.randn(parameter.shape, generator=draw)
    return found


@settings(max_examples=50, deadline=None)
@given(
    prompts=st.lists(SHAPES, min_size=1, max_size=5),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
    limit=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 99),
)
def test_as_each_alone(prompts: list[list[list[int]]], scale: float, limit: float, seed: int) -> None:
    together, alone = (made(prompts, scale, seed) for _ in range(2))
    clip_each(together, limit)
    for own in alone:
        nn.utils.clip_grad_norm_(own, limit)
    for one, other in zip((p for own in together for p in own), (p for own in alone for p in own), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


def test_nothing_to_clip() -> None:
    clip_each([[nn.Parameter(torch.zeros(2))], []], 1.0)
    clip_each([], 1.0)


def test_a_large_gradient_shortens_no_other() -> None:
    large, small = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    large.grad, small.grad = torch.tensor([300.0, 400.0]), torch.tensor([0.3, 0.4])
    clip_each([[large], [small]], 1.0)
    torch.testing.assert_close(large.grad, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(small.grad, torch.tensor([0.3, 0.4]))
