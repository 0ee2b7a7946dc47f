"""What a run costs: time from a count of floating-point operations and a measured speed, memory and disk from shapes.

A token's forward pass costs 2 operations per weight, and per layer 4·M for every position it attends to (scores and
weighted sum). Training costs twice a forward pass: gradients flow back through the activations, but a frozen weight has
none of its own (training everything would cost three times). A prompt that begins at layer k trains through the layers
from k on; those below are computed once. Early stopping is not foreseen: adaptation is an upper bound.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import median

from pipeline.backbone import BackboneInfo

OVERHEAD = {"float32": 1.1, "bfloat16": 1.6}
"""What a step takes besides the backbone's layers, measured on MiniLM."""
GATHER_SPEED = {"cpu": 130e6, "cuda": 50e9}
"""Bytes per second at which a rank receives sharded weights: gloo on one machine as measured, NVLink as assumed."""
PROCESS_BYTES = 600_000_000
"""What a worker takes before it loads a backbone: Python, torch, transformers."""
_SAVED_PER_LAYER = 12
"""Vectors of width M that a layer keeps per token for its backward pass: norms, q, k, v, attention, the wide middle."""
_BYTES_PER_SCORE = 16
"""What the score of a token of the vocabulary takes: in fp32, as a logarithm, and the gradients of both."""


@dataclass(frozen=True)
class Pass:
    """Rows that go through the backbone together.

    Args:
        tokens: of all rows. length: mean tokens of a row. prompt: P. first_layer: where the rows enter.
        among: whether the prompt stands among the tokens and goes through every layer as they do.
    """

    tokens: float
    length: float
    prompt: float
    first_layer: int = 0
    among: bool = False


def forward(info: BackboneInfo, one: Pass) -> float:
    """Operations of a forward pass; embeddings are looked up, not multiplied."""
    layers = info.entrances
    tokens = one.tokens * (1 + one.prompt / one.length) if one.among else one.tokens
    whole = 2.0 * info.multiplied * tokens + 4.0 * layers * info.inner * tokens * (one.length + one.prompt)
    return whole * (layers - one.first_layer) / layers


def below(info: BackboneInfo, one: Pass, layer: int) -> float:
    """Operations of the layers below `layer`, the trunk: there are no prompts in it."""
    bare = Pass(one.tokens, one.length, 0)
    return forward(info, bare) * layer / info.entrances


def training(info: BackboneInfo, one: Pass, again: bool = False) -> float:
    """Operations of a forward pass and the way back to the prompts. again: layers run twice (`checkpointing`)."""
    return (3.0 if again else 2.0) * forward(info, one)


def search(
    info: BackboneInfo,
    step: Pass,
    dev: Pass,
    prompt: tuple[int, int, bool],
    steps: int,
    every: int,
    again: bool = False,
) -> float:
    """Operations of a candidate's whole training: each step's rows, and a look at dev now and then.

    Args:
        prompt: P, its first layer (those below do not count here), whether it stands among the tokens.
        again: see `training`.
    """
    looks = -(-steps // every) or 1  # of what is not trained, one
    train, look = (Pass(one.tokens, one.length, *prompt) for one in (step, dev))
    return steps * training(info, train, again) + looks * forward(info, look)


def measure_speed(dtype: str, width: int, seconds: float = 0.3) -> float:
    """Operations per second of this machine in training steps: a frozen layer of the backbone's width, there and back.

    A bare matrix product would promise too much: in bfloat16 the rest of a layer takes longer than its products.

    Args:
        dtype: "float32" or "bfloat16". width: M.
    """
    import torch
    from torch.nn import functional as F

    rows, length = 32, 32
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shapes = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    weights = [0.02 * torch.randn(shape, device=device, dtype=getattr(torch, dtype)) for shape in shapes]
    hidden = torch.randn(rows, length, width, device=device, dtype=weights[0].dtype, requires_grad=True)

    def layer() -> torch.Tensor:
        split = (rows, length, 3, -1, math.gcd(width, 64))
        q, k, v = F.linear(hidden, weights[0]).view(split).permute(2, 0, 3, 1, 4)  # each [B, H, T, D]
        mixed = ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(rows, length, width)
        middle = F.layer_norm(hidden + F.linear(mixed, weights[1]), (width,))
        return F.layer_norm(middle + F.linear(F.gelu(F.linear(middle, weights[2])), weights[3]), (width,))

    def step() -> None:
        torch.autograd.grad(layer(), hidden, torch.ones_like(hidden))
        if device == "cuda":
            torch.cuda.synchronize()

    end = time.perf_counter() + seconds
    step()  # sets the kernels up
    taken: list[float] = []
    while time.perf_counter() < end or not taken:
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    work = 2.0 * rows * length * (2 * 12 * width**2 + 4 * width * length)
    return work / median(taken) / OVERHEAD[dtype]


def gathering(weight_bytes: int, workers: int, device: str) -> float:
    """Seconds per step that a rank waits for sharded weights: all but its own share, on the way there and back."""
    return 2 * weight_bytes * (workers - 1) / workers / GATHER_SPEED[device]


def worker_memory(
    info: BackboneInfo,
    weight_bytes: int,
    item: int,
    tokens: float,
    share: int = 1,
    again: bool = False,
    scored: int = 0,
) -> int:
    """Bytes of one worker at its widest step.

    Args:
        weight_bytes: of the whole backbone. item: bytes of one weight. tokens: in this worker's step.
        share: over how many workers the weights are sharded; two layers are whole at any time.
        again: whether layers keep their inputs only, all but the one that is on its way back (`checkpointing`).
        scored: tokens of the vocabulary that are scored at each of the step's, see `TaskType.scored`.
    """
    layer = weight_bytes / max(1, info.layers)
    weights = weight_bytes if share == 1 else weight_bytes / share + 2 * layer
    kept = info.entrances + _SAVED_PER_LAYER if again else info.entrances * _SAVED_PER_LAYER
    activations = tokens * kept * info.inner * item
    return round(PROCESS_BYTES + weights + activations + tokens * scored * _BYTES_PER_SCORE)


def disk_bytes(tokens: float, checkpointed: int, kept: int) -> int:
    """Bytes that a run writes.

    Args:
        tokens: of all splits; an encoded token takes about 24 bytes in the cache and as much in the run.
        checkpointed: trainable numbers that are in checkpoints at the same time. kept: those in results.
    """
    # A checkpoint holds each number with Adam's two moments and the best so far, and two checkpoints are kept.
    return round(48 * tokens + 4 * (2 * 4 * checkpointed + kept))
