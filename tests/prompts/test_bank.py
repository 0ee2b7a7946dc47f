"""The bank gives back what was put in, and hands out just what a batch uses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts import PromptBank, normal, resize, vocabulary

LAYERS = 3


def prompts_of(shapes):
    """Prompts of (layers, places)."""
    return [torch.randn(layers, 2, 2, places, 4) for layers, places in shapes]


shapes = st.lists(st.tuples(st.integers(1, LAYERS), st.integers(0, 9)), min_size=1, max_size=5)


@given(shapes)
def test_baked_equals_put_in(shapes):
    prompts = prompts_of(shapes)
    bank = PromptBank(prompts, LAYERS)
    assert all(torch.equal(bank.bake(n), prompt) for n, prompt in enumerate(prompts))
    assert bank.lengths == [places for _, places in shapes]
    assert bank.first_layers == [LAYERS - layers for layers, _ in shapes]


@settings(max_examples=60, deadline=None)
@given(shapes, st.data())
def test_a_stack_holds_each_prompt_in_its_layers_and_nothing_else(shapes, data):
    """Also when prompts are cut to their first places and their upper layers."""
    bank = PromptBank(prompts := prompts_of(shapes), LAYERS)
    begins = [data.draw(st.integers(LAYERS - layers, LAYERS - 1)) for layers, _ in shapes]
    chosen = sorted(range(len(shapes)), key=lambda n: (begins[n], n))
    places = [data.draw(st.integers(0, shapes[n][1])) for n in chosen]
    stacked, absent = bank.stack(chosen, places, [begins[n] for n in chosen])
    assert sorted(stacked) == list(range(min(begins), LAYERS)) and not absent
    for layer, tensor in stacked.items():
        here = [n for n in chosen if begins[n] <= layer]
        assert tensor.shape == (len(here), 2, 2, max(places), 4)
        for k, n in enumerate(here):
            own = prompts[n][layer - LAYERS, :, :, : places[k]]
            assert torch.equal(tensor[k, :, :, : places[k]], own) and not tensor[k, :, :, places[k] :].any()


def test_a_gradient_stays_with_its_prompt():
    bank = PromptBank(prompts_of([(2, 3), (3, 5), (3, 5)]), LAYERS)
    sum(layer.square().sum() for layer in bank.stack([1], [4], [0])[0].values()).backward()
    assert [p.value.grad is not None for p in bank.encoders] == [False, True, False]
    assert bank.encoders[1].value.grad[..., :4, :].abs().min() > 0 and not bank.encoders[1].value.grad[..., 4:, :].any()


def test_prompts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        PromptBank([torch.zeros(2, 2, 2, 3, 4), torch.zeros(2, 2, 1, 3, 4)], 2)
    with pytest.raises(ValueError, match="3 layers, the backbone 2"):
        PromptBank([torch.zeros(3, 2, 2, 3, 4)], 2)
    with pytest.raises(ValueError, match="at least one"):
        PromptBank([], 2)


def test_normal_is_small_noise_of_its_seed():
    prompt = normal((4, 2, 8, 16, 32), seed=3)
    assert prompt.shape == (4, 2, 8, 16, 32)
    assert abs(float(prompt.std()) - 0.02) < 1e-3 and abs(float(prompt.mean())) < 1e-3
    assert torch.equal(prompt, normal((4, 2, 8, 16, 32), seed=3))
    assert not torch.equal(prompt, normal((4, 2, 8, 16, 32), seed=4))


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
