"""Encoders begin where they are told, are evaluated once per step, and pass on the gradient that their value gets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.prompts import Factored, PromptBank, encoder_parameters, make_encoder, ones_near, paces, parse_layout

DEEP, INPUT = (3, 2, 2, 5, 4), (5, 12)
CASES = [("identity", DEEP), ("mlp", DEEP), *((name, INPUT) for name in ("identity", "mlp", "lstm", "bilstm+mlp"))]


def start_of(shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_an_encoder_begins_at_its_start_and_moves_every_place(name, shape):
    start = start_of(shape)
    encoder = make_encoder(name, start, 8, seed=3)
    assert torch.equal(encoder(), start) and encoder.shape == start.shape
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    for _ in range(3):  # the last layer begins at zero: what lies behind it moves from the second step on
        optimizer.zero_grad()
        (encoder() - start_of(shape).roll(1, -1)).square().sum().backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())
    assert bool((encoder() - start).abs().amax(tuple(range(3)) if len(shape) == 5 else 1).min() > 0)
    assert encoder_parameters(name, shape, 8) == sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize(("name", "shape"), [case for case in CASES if case[0] != "identity"])
def test_a_learning_rate_moves_a_value_about_as_far_whatever_network_makes_it(name, shape):
    """Adam moves a bare number by the rate in every step; a network's matrices of any width may not multiply that."""
    start, wanted, rate, steps = start_of(shape), start_of(shape).roll(1, -1), 1e-2, 10
    for width in (8, 64, 512):
        encoder = make_encoder(name, start, width, seed=3)
        optimizer = torch.optim.Adam([{"params": [p], "lr": rate * pace} for p, pace in paces(encoder)])
        for _ in range(steps):
            optimizer.zero_grad()
            (encoder() - wanted).square().sum().backward()
            optimizer.step()
        moved = float((encoder() - start).detach().abs().median())
        assert 0.15 < moved / (rate * steps) < 1.5, width


def test_the_same_seed_gives_the_same_network_whatever_was_drawn_before():
    made = []
    for _ in range(2):
        torch.randn(7)
        state = torch.get_rng_state()
        made.append(make_encoder("bilstm+mlp", start_of(INPUT), 8, seed=3))
        assert torch.equal(torch.get_rng_state(), state)  # and draws nothing from anybody else
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in made), strict=True))


def test_a_prompt_of_no_places_needs_no_network():
    assert make_encoder("mlp", torch.zeros(3, 2, 2, 0, 4), 8, 0)().shape == (3, 2, 2, 0, 4)
    assert encoder_parameters("mlp", (3, 2, 2, 0, 4), 8) == 0


@pytest.mark.parametrize("shape", [DEEP, INPUT])
def test_a_factor_is_of_rank_one_over_places(shape):
    shared = nn.Parameter(start_of(shape))
    per_place = (*shape[:3], shape[4]) if len(shape) == 5 else shape[1:]
    factored = Factored(shared, ones_near([5], 0), ones_near(per_place, 1))
    ratio = factored().detach() / shared.detach()
    matrix = (ratio.permute(3, 0, 1, 2, 4) if len(shape) == 5 else ratio).reshape(5, -1)  # [P, numbers of a place]
    assert torch.linalg.matrix_rank(matrix, atol=1e-4) == 1
    assert torch.allclose(matrix, torch.outer(factored.u, factored.v.reshape(-1)), atol=1e-5)


class Counted(nn.Module):
    """An encoder that counts how often it is asked."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0
        self.shape = inner.shape

    def forward(self):
        self.calls += 1
        return self.inner()


def test_once_is_once_and_gives_the_gradients_of_many():
    """Two passes of one step use a prompt twice; its network runs once, with the gradients of both."""
    encoders = [Counted(make_encoder("mlp", start_of(DEEP), 8, seed)) for seed in (0, 1, 2)]
    bank = PromptBank(encoders, 3)
    for encoder in encoders:
        torch.nn.init.normal_(encoder.inner.network[-1].weight)

    def passes():
        for chosen in ([0, 1], [1]):
            layers, _ = bank.stack(chosen, [5] * len(chosen), [0] * len(chosen))
            sum((layer * (1 + number)).square().sum() for number, layer in layers.items()).backward()

    passes()
    expected = [[None if p.grad is None else p.grad.clone() for p in one.parameters()] for one in encoders]
    for one in encoders:
        one.zero_grad()
        one.calls = 0
    with bank.once():
        passes()
    assert [one.calls for one in encoders] == [1, 1, 0]
    for one, wanted in zip(encoders, expected, strict=True):
        for p, grad in zip(one.parameters(), wanted, strict=True):
            assert (p.grad is None) == (grad is None)
            assert grad is None or torch.allclose(p.grad, grad, rtol=1e-4, atol=1e-4)


def test_tasks_that_share_a_prompt_add_their_gradients_to_it():
    shared = nn.Parameter(start_of(INPUT))
    bank = PromptBank(
        [Factored(shared, ones_near([5], s), ones_near([12], s + 9)) for s in (0, 1)], 3, [parse_layout("front")] * 2
    )
    with bank.once():
        bank.vectors([0, 1], [5, 5]).square().sum().backward()
    alone = [torch.autograd.grad(bank.encoders[n]().square().sum(), shared, retain_graph=True)[0] for n in (0, 1)]
    assert torch.allclose(shared.grad, alone[0] + alone[1], rtol=1e-4)


def test_layouts_and_prompts_must_fit():
    with pytest.raises(ValueError, match="have a layout"):
        PromptBank([torch.zeros(*INPUT)], 3)
    with pytest.raises(ValueError, match="have a layout"):
        PromptBank([torch.zeros(*DEEP)], 3, [parse_layout("front")])
    with pytest.raises(ValueError, match="agree in their width"):
        PromptBank([torch.zeros(2, 4), torch.zeros(2, 5)], 3, [parse_layout("end")] * 2)
