"""Prompt encoders: small modules that turn parameters of their own into a prompt's value.

An encoder exists in training only. Its value is evaluated once per prompt and step (`PromptBank.once`), not per row or
pass as peers do, and after training the value alone is kept: encoders never reach an artifact.

Every encoder begins at exactly the value that an initialiser made: what it learns is added to that, and its last layer
begins at zero. So any initialiser goes with any encoder, and a reparameterised prompt may start from a shared one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

ENCODERS = ("identity", "mlp", "lstm", "bilstm+mlp")
"""By name: the value itself, or what a network adds to it. `Factored` comes with pretraining, not by name."""


class Identity(nn.Module):
    """The value is the parameter (P-tuning v2, Liu et al. 2022, section 3.3, found reparameterisation no general gain).

    Args:
        start: a deep prompt's keys and values [L, 2, H, P, D], or an input prompt's vectors [P, E].
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(start.detach().float().clone())

    @property
    def shape(self) -> torch.Size:
        return self.value.shape

    def forward(self) -> Tensor:
        """The value, [L, 2, H, P, D] or [P, E]."""
        return self.value


class Reparameterised(nn.Module):
    """A learned embedding of the places, [P, W], through a network, added to the start.

    Deep prompts with "mlp" are prefix tuning (Li & Liang 2021, section 4.3: a smaller matrix through a feedforward
    network, "we can drop them" after training): one network makes the keys and values of all prompted layers, sized by
    the backbone's H and D, so grouped heads are as good as others. Input prompts with an LSTM, an MLP or both are
    P-tuning ("GPT Understands, Too", Liu et al. 2021, section 3.2: a bidirectional LSTM, then a ReLU two-layer MLP).

    Args:
        start: as for `Identity`. kind: "mlp", "lstm" or "bilstm+mlp". width: W. seed: draws the network.
    """

    start: Tensor

    def __init__(self, start: Tensor, kind: str, width: int, seed: int) -> None:
        super().__init__()
        self.register_buffer("start", start.detach().float().clone())
        out = math.prod(_per_place(start.shape))
        with torch.random.fork_rng(devices=[]):  # a prompt's start depends on its seed alone
            torch.manual_seed(seed)
            self.embedding = nn.Parameter(torch.randn(_places(start.shape), width))
            half = max(1, width // 2)
            self.lstm = nn.LSTM(width, half, num_layers=2, bidirectional=True) if "lstm" in kind else None
            between = 2 * half if self.lstm is not None else width
            last = nn.Linear(width if "mlp" in kind else between, out)
            bend = nn.Tanh() if start.dim() == 5 else nn.ReLU()  # as each paper has it
            self.network = nn.Sequential(nn.Linear(between, width), bend, last) if "mlp" in kind else last
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    @property
    def shape(self) -> torch.Size:
        return self.start.shape

    def forward(self) -> Tensor:
        """The value, [L, 2, H, P, D] or [P, E]."""
        states = self.embedding  # [P, W]
        if self.lstm is not None:
            states, _ = self.lstm(states)  # one sequence of P places, no batch
        learnt = self.network(states).view(-1, *_per_place(self.start.shape))  # [P, L, 2, H, D] or [P, E]
        return self.start + (learnt.permute(1, 2, 3, 0, 4) if learnt.dim() == 5 else learnt)


class Factored(nn.Module):
    """A shared prompt times a task's own matrix of rank one (multitask prompt tuning, Wang et al. 2023, section 3.1).

    The value is P* ∘ (u vᵀ): u has a number per place, v one per number of a place. Both begin near 1, so that every
    task begins at the shared prompt.

    Args:
        shared: P*, the same parameter for all the tasks that share it. u: [P]. v: [L, 2, H, D] or [E].
    """

    def __init__(self, shared: nn.Parameter, u: Tensor, v: Tensor) -> None:
        super().__init__()
        self.shared = shared
        self.u = nn.Parameter(u.detach().float().clone())
        self.v = nn.Parameter(v.detach().float().clone())

    @property
    def shape(self) -> torch.Size:
        return self.shared.shape

    def forward(self) -> Tensor:
        """The value, [L, 2, H, P, D] or [P, E]."""
        if self.shared.dim() == 2:
            return self.shared * self.u[:, None] * self.v
        return self.shared * self.u[:, None] * self.v[:, :, :, None]


Encoder = Identity | Reparameterised | Factored


def make_encoder(name: str, start: Tensor, width: int, seed: int) -> Encoder:
    """An encoder whose value begins at `start`; a prompt of no places has nothing to encode."""
    if name == "identity" or not start.numel():
        return Identity(start)
    return Reparameterised(start, name, width, seed)


def paces(encoder: nn.Module) -> Iterator[tuple[nn.Parameter, float]]:
    """Each parameter of an encoder, and its share of the prompt's learning rate.

    Adam moves all numbers alike. A network's matrix sums over its inputs and each layer adds what it moves to what the
    others do, so that at the full rate a value would move hundreds of times further than a bare prompt does. At 1 /
    inputs (Yang et al. 2022, "Tensor Programs V", table 3: hidden and output weights under Adam) and 1 / layers, the
    embedding being one, a learning rate means about the same for every encoder and width, and a head beside it learns
    at the rate that heads want.
    """
    parts = [part for part in encoder.modules() if isinstance(part, nn.Linear | nn.LSTM)]
    layers = 1 + sum(part.num_layers if isinstance(part, nn.LSTM) else 1 for part in parts)
    matrices = {p for part in parts for p in part.parameters() if p.dim() == 2}
    for parameter in encoder.parameters():
        yield parameter, 1.0 / layers / (parameter.shape[1] if parameter in matrices else 1)


def ones_near(shape: Sequence[int], seed: int) -> Tensor:
    """Where a factor begins: 1, and a little noise that tells tasks apart."""
    return 1.0 + 0.02 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoder_parameters(name: str, shape: Sequence[int], width: int) -> int:
    """How many numbers an encoder trains for a prompt of that shape, [L, 2, H, P, D] or [P, E]."""
    if name == "identity" or not math.prod(shape):
        return math.prod(shape)
    with torch.device("meta"):
        made = Reparameterised(torch.empty(*shape), name, width, 0)
    return sum(parameter.numel() for parameter in made.parameters())


def _places(shape: torch.Size) -> int:
    return shape[3] if len(shape) == 5 else shape[0]


def _per_place(shape: Sequence[int]) -> tuple[int, ...]:
    """What a place holds: [L, 2, H, D] or [E]."""
    return (*shape[:3], shape[4]) if len(shape) == 5 else tuple(shape[1:])
