"""What a backbone is, as far as it needs no weights: its identity and its shape."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.backbone.sites import KINDS, Kind


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone's identity and shape.

    Args:
        name: as the config named it. folder: where its files are. revision: the hub's commit, or "local".
        family: transformers' model type. weights: sha256 of the weight files. tokenizer: sha256 of the tokenizer.
        layers: L, the attentions that prompts may stand in (`sites`); an encoder-decoder has three kinds of them.
        heads: H, key/value heads. head_size: D. width: M. vocabulary: V. context: longest input, None unbounded.
        parameters: their number. causal: True for a decoder. embedding: E, the width of the input embeddings, which
        in some families (ELECTRA, ALBERT) is not M.
        inner: the width between the layers, which in one family (OPT 350M) is not M. multiplied: see `Probed`.
        sites: [L] the names of the attention modules, in the order they run. kinds: [L] of each, see `sites.KINDS`.
        attention: the kinds that prompts stand in.
    """

    name: str
    folder: Path
    revision: str
    family: str
    weights: str
    tokenizer: str
    layers: int
    heads: int
    head_size: int
    width: int
    vocabulary: int
    context: int | None
    parameters: int
    causal: bool
    embedding: int
    inner: int
    multiplied: int
    sites: tuple[str, ...]
    kinds: tuple[Kind, ...]
    attention: tuple[Kind, ...] = KINDS

    @property
    def entrances(self) -> int:
        """How many layers rows may enter at: those of the stack that heads read, an encoder-decoder's encoder."""
        return self.kinds.count(self.kinds[0])

    @property
    def decodes(self) -> bool:
        """Whether it is an encoder-decoder."""
        return "cross" in self.kinds

    @property
    def words(self) -> str:
        """What it is, for people: `bert, an encoder of 6 layers`; `t5, an encoder-decoder of 12 + 12 layers`."""
        kind = "an encoder-decoder" if self.decodes else "a decoder" if self.causal else "an encoder"
        above = f" + {(self.layers - self.entrances) // 2}" if self.decodes else ""
        return f"{self.family}, {kind} of {self.entrances}{above} layers"

    @property
    def whole(self) -> str | None:
        """Why it cannot be shared out by ZeRO-3; None where it can."""
        if self.decodes:
            return (
                f"the family {self.family!r} cannot be shared out: DeepSpeed runs a model whole, not its encoder alone"
            )
        return None

    @property
    def standing(self) -> tuple[int, ...]:
        """The sites that prompts stand in, ascending; a prompt has the last ones of them."""
        return tuple(n for n, kind in enumerate(self.kinds) if kind in self.attention)

    def prompted(self, first_layer: int) -> int:
        """How many sites a deep prompt from `first_layer` up stands in."""
        return sum(site >= first_layer for site in self.standing)

    @property
    def predicts(self) -> str:
        """What its language model predicts: the token at a "mask", the "next" one, or its own decoder's "answer"."""
        return "answer" if self.decodes else "next" if self.causal else "mask"

    @property
    def fingerprint(self) -> str:
        """What the artifacts of this backbone are bound to: weights and tokenizer."""
        return hashlib.sha256(f"{self.weights}:{self.tokenizer}".encode()).hexdigest()

    def prompt_parameters(self, length: int, first_layer: int = 0) -> int:
        """How many numbers a deep prompt of `length` places has."""
        return self.prompted(first_layer) * 2 * self.heads * length * self.head_size

    def prompt_shape(self, length: int, first_layer: int, deep: bool) -> tuple[int, ...]:
        """[L, 2, H, P, D] of a deep prompt, [P, E] of an input prompt."""
        if not deep:
            return length, self.embedding
        return self.prompted(first_layer), 2, self.heads, length, self.head_size
