"""Where the prompts of a training start: by the name of an initialiser, or from the shared prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.backbone import Backbone
from pipeline.errors import InputError, nearest
from pipeline.prompts import DEEP, INITIALISERS, Encoder, Factored, Recipe, initialise, make_encoder, resize
from pipeline.training.candidates import Candidate


@dataclass(frozen=True)
class Start:
    """What the candidates of an adaptation start from.

    Args:
        prompt: what pretraining made, in the backbone's top L layers, [L, 2, H, P, D], or for the input, [P, E]; None
            when nothing was pretrained.
        heads: task → (weight [C, M], bias [C]) as pretraining left them.
        init: the initialiser for whatever is new. recipe: method, encoder and layout.
        factor: the task's own (u, v) beside the shared prompt, where there are factors; see `Factored`.
        source: the prompt that the initialiser `prompt` begins with.
    """

    prompt: Tensor | None
    heads: dict[str, tuple[Tensor, Tensor]]
    init: str
    recipe: Recipe = DEEP
    factor: tuple[Tensor, Tensor] | None = None
    source: Tensor | None = None

    def begin(self, backbone: Backbone, candidate: Candidate, labels: Sequence[str] = ()) -> Encoder:
        """A candidate's prompt before its first step. labels: the task's."""
        shape = candidate.length, candidate.first_layer, candidate.seed
        if candidate.start != "shared":
            return self._encoder(backbone, self.scratch(backbone, *shape, labels), candidate)
        value = self.shared(backbone, *shape, labels)
        if self.factor is None:
            return self._encoder(backbone, value, candidate)
        u, v = self.factor
        layout = self.recipe.arrangement
        u = resize(u[:, None], candidate.length, lambda missing: torch.ones(missing, 1), layout)[:, 0]
        v = v[-backbone.info.prompted(candidate.first_layer) :] if self.recipe.deep else v
        return Factored(nn.Parameter(value), u, v)  # MPT trains shared prompt and factor on in adaptation, too

    def shared(
        self, backbone: Backbone, places: int, first_layer: int, seed: int, labels: Sequence[str] = ()
    ) -> Tensor:
        """The shared prompt's upper layers, cut or extended to `places`, [L, 2, H, places, D] or [places, E]."""
        assert self.prompt is not None
        upper = self.prompt[-backbone.info.prompted(first_layer) :] if self.recipe.deep else self.prompt
        fresh = partial(self.scratch, backbone, first_layer=first_layer, seed=seed, labels=labels)
        return resize(upper, places, fresh, self.recipe.arrangement)

    def scratch(
        self, backbone: Backbone, places: int, first_layer: int, seed: int, labels: Sequence[str] = ()
    ) -> Tensor:
        """A prompt that has seen no task, [L, 2, H, places, D], L the layers from `first_layer` up, or [places, E]."""
        return make_prompt(self.init, backbone, places, seed, first_layer, self.recipe, labels, self.source)

    def _encoder(self, backbone: Backbone, value: Tensor, candidate: Candidate) -> Encoder:
        return make_encoder(self.recipe.encoder, value, backbone.info.width, candidate.seed)


def mean_factor(factors: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean of the source tasks' (u, v): where a task that pretraining has not seen begins (MPT, section 3.3)."""
    return torch.stack([u for u, _ in factors]).mean(0), torch.stack([v for _, v in factors]).mean(0)


def make_prompt(
    init: str,
    backbone: Backbone,
    places: int,
    seed: int,
    first_layer: int,
    recipe: Recipe = DEEP,
    labels: Sequence[str] = (),
    source: Tensor | None = None,
) -> Tensor:
    """A new prompt for a backbone, by the name of an initialiser.

    Args:
        labels: for `labels`: the task's. source: for `prompt`: another prompt; what it lacks is `vocabulary`.

    Returns:
        [L, 2, H, places, D], L counting the prompted layers, or [places, E].

    Raises:
        InputError: an unknown initialiser; a text or labels that have no tokens; a source of another kind.
    """
    info = backbone.info
    shape = info.prompt_shape(places, first_layer, recipe.deep)
    if init == "normal":
        return initialise.normal(shape, seed)
    if init == "uniform":
        return initialise.uniform(shape, seed)
    if not places:
        return torch.zeros(shape)

    def states(tokens: Tensor) -> Tensor:
        if not recipe.deep:
            return backbone.embeddings_of(tokens)
        return backbone.states_of(tokens)[list(info.standing[-shape[0] :])]

    def sampled(count: int) -> Tensor:
        return initialise.vocabulary(states, backbone.ordinary_tokens, count, seed)

    if init == "vocabulary":
        return sampled(places)
    if init == "text":
        tokens = _tokens(backbone, recipe.text or "")
        if not len(tokens):
            raise InputError("the text to start from has no tokens", where="prompt.text", found=recipe.text)
        return initialise.text(states, tokens, places)
    if init == "labels":
        return initialise.labels(states, [_tokens(backbone, _as_words(one)) for one in labels], places, sampled)
    if init == "prompt" and source is not None:
        if source.dim() != len(shape):
            raise InputError("the prompt to start from is of another method", where="prompt.source")
        if recipe.deep and source.shape[0] < shape[0]:  # it does not reach so far down
            more = initialise.vocabulary(states, backbone.ordinary_tokens, source.shape[3], seed)
            source = torch.cat([more[: shape[0] - source.shape[0]], source])
        return resize(source[-shape[0] :] if recipe.deep else source, places, sampled, recipe.arrangement)
    raise InputError(
        "unknown initialiser",
        where="prompt.init",
        found=init,
        expected=INITIALISERS,
        nearest=nearest(init, INITIALISERS),
    )


def _tokens(backbone: Backbone, text: str) -> Tensor:
    return torch.tensor(backbone.tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.int64)


def _as_words(label: str) -> str:
    """A label as a reader would say it: `not_entailment`, `B-order` → words."""
    return label.replace("_", " ").replace("-", " ")
