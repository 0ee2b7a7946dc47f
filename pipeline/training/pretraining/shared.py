"""The shared prompt: how it is to be trained, and what pretraining leaves of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class PretrainSettings:
    """How the shared prompt trains.

    Args:
        steps: optimizer steps. rows: rows per step over all ranks. learning_rate: the prompt's. head_share: of it, what
            the heads take.
        warmup: see `Schedule`. exponent, cap: see `Mixture`. seed: schedule, lengths and start.
        length: P. init: the initialiser. first_layer: the lowest prompted layer. pooling: see `PromptedModel`.
        nested: whether each step draws a length. checkpoint_every: steps; 0 for none.
        kind: "shared", "factors" or "retrieval". distil: teachers first, as many steps again. sources: of retrieval,
            the tasks that others may start from; the rest train a prompt only to be compared.
    """

    steps: int
    rows: int
    learning_rate: float
    warmup: float
    exponent: float
    cap: int | None
    seed: int
    length: int
    init: str
    first_layer: int
    pooling: str
    nested: bool = True
    checkpoint_every: int = 50
    kind: str = "shared"
    distil: bool = False
    sources: tuple[str, ...] = ()
    head_share: float = 1.0


@dataclass(frozen=True)
class SharedPrompt:
    """What pretraining made.

    Args:
        prompt: [L, 2, H, P, D] or [P, E]; of retrieval the mean of the sources'. heads: task → (weight [C, M], bias
        [C]). curve: (step, mean training loss since the last).
        own: of retrieval, task → its prompt. factors: of factors, task → (u, v), see `Factored`.
        similarity: of retrieval, task → task → cosine.
    """

    prompt: Tensor
    heads: dict[str, tuple[Tensor, Tensor]]
    curve: list[tuple[int, float]]
    own: dict[str, Tensor] = field(default_factory=dict)
    factors: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    similarity: dict[str, dict[str, float]] = field(default_factory=dict)
