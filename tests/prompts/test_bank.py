"""The bank gives back what was put in, whatever the rates and lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts import PromptBank, normal, resize, vocabulary


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    rates=st.data(),
    layers=st.integers(1, 3),
)
def test_baked_equals_put_in(lengths, rates, layers):
    given_rates = [rates.draw(st.sampled_from([0.1, 1.0, 3.0])) for _ in lengths]
    prompts = [torch.randn(layers, 2, 2, length, 4) for length in lengths]
    bank = PromptBank(prompts, given_rates)
    for n, prompt in enumerate(prompts):
        assert bank.bake(n).shape == prompt.shape
        assert torch.allclose(bank.bake(n), prompt, atol=1e-6)


def test_only_the_chosen_prompts_leave_the_bank():
    prompts = [torch.randn(2, 2, 2, 3, 4) for _ in range(4)]
    bank = PromptBank(prompts, [1.0, 2.0, 0.5, 1.0])
    layers = bank(torch.tensor([2, 0]))
    assert len(layers) == 2 and layers[0].shape == (2, 2, 2, 3, 4)
    assert torch.allclose(layers[1][0], prompts[2][1]) and torch.allclose(layers[0][1], prompts[0][0])


def test_a_gradient_stays_with_its_prompt():
    bank = PromptBank([torch.randn(2, 2, 2, 3, 4) for _ in range(3)])
    sum(layer.square().sum() for layer in bank(torch.tensor([1]))).backward()
    touched = bank.kv.grad.flatten(1).abs().sum(1) > 0
    assert touched.tolist() == [False, True, False]


def test_prompts_of_different_shape_do_not_stack():
    with pytest.raises(ValueError, match="must agree"):
        PromptBank([torch.zeros(2, 2, 2, 3, 4), torch.zeros(3, 2, 2, 3, 4)])
    with pytest.raises(ValueError, match="at least one"):
        PromptBank([])


def test_normal_is_small_noise_of_its_seed():
    prompt = normal((4, 8, 16, 32), seed=3)
    assert prompt.shape == (4, 2, 8, 16, 32)
    assert abs(float(prompt.std()) - 0.02) < 1e-3 and abs(float(prompt.mean())) < 1e-3
    assert torch.equal(prompt, normal((4, 8, 16, 32), seed=3))
    assert not torch.equal(prompt, normal((4, 8, 16, 32), seed=4))


def test_vocabulary_takes_what_the_backbone_computes_for_sampled_tokens():
    asked = []

    def capture(tokens):
        asked.append(tokens)
        return torch.zeros(1, 2, 1, len(tokens), 1)

    tokens = torch.arange(100, 160)
    vocabulary(capture, tokens, 8, seed=0)
    vocabulary(capture, tokens, 8, seed=0)
    vocabulary(capture, tokens, 8, seed=1)
    assert torch.equal(asked[0], asked[1]) and not torch.equal(asked[0], asked[2])
    assert len(set(asked[0].tolist())) == 8 and set(asked[0].tolist()) <= set(tokens.tolist())
    assert vocabulary(capture, torch.tensor([5, 6]), 5, seed=0).shape[3] == 5  # fewer tokens than places


@given(old=st.integers(1, 8), new=st.integers(1, 12))
def test_resize_keeps_the_beginning(old, new):
    prompt = torch.randn(1, 2, 1, old, 2)
    resized = resize(prompt, new, lambda places: torch.full((1, 2, 1, places, 2), 7.0))
    kept = min(old, new)
    assert resized.shape[3] == new and torch.equal(resized[:, :, :, :kept], prompt[:, :, :, :kept])
    assert bool((resized[:, :, :, kept:] == 7.0).all())
