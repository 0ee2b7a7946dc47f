"""The methods of the field by name, and what a run chose of one."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.prompts.layout import Layout, parse_layout


@dataclass(frozen=True)
class Method:
    """A way to prompt.

    Args:
        deep: keys and values in layers; else vectors among the input embeddings.
        encoders: those that make it, the usual one first. template: whether its soft tokens may stand in one.
    """

    deep: bool
    encoders: tuple[str, ...]
    template: bool = False


METHODS = {
    "deep": Method(True, ("identity",)),  # P-tuning v2, Liu et al. 2022
    "prefix": Method(True, ("mlp",)),  # prefix tuning, Li & Liang 2021
    "prompt_tuning": Method(False, ("identity",)),  # Lester et al. 2021
    "p_tuning": Method(False, ("bilstm+mlp", "lstm", "mlp"), template=True),  # Liu et al. 2021
    "head": Method(True, ("identity",)),  # a linear head alone: deep prompts of no places
    "hard": Method(True, ("identity",)),  # a template in words, nothing trained: the same, and a verbalizer
}


@dataclass(frozen=True)
class Recipe:
    """How the prompts of a training are made.

    Args:
        method: a key of `METHODS`. encoder: what stands behind them in training.
        layout: where an input prompt stands, as `parse_layout` reads it; None for a deep one.
        text: what the initialiser `text` begins with.
    """

    method: str = "deep"
    encoder: str = "identity"
    layout: str | None = None
    text: str | None = None

    @property
    def deep(self) -> bool:
        return METHODS[self.method].deep

    @property
    def arrangement(self) -> Layout | None:
        """The layout, read."""
        return None if self.layout is None else parse_layout(self.layout)


DEEP = Recipe()
"""P-tuning v2, the method of a run that names none."""
