"""Where the prompts of a training start: by the name of an initialiser, or from the shared prompt."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pipeline.backbone import Backbone
from pipeline.errors import InputError, nearest
from pipeline.prompts import INITIALISERS, normal, resize, vocabulary


@dataclass(frozen=True)
class Start:
    """What the candidates of an adaptation start from.

    Args:
        prompt: the shared prompt [L, 2, H, P, D] in the backbone's top L layers, or None when nothing was pretrained.
        heads: task → (weight [C, M], bias [C]) as pretraining left them.
        init: the initialiser for whatever is new.
    """

    prompt: Tensor | None
    heads: dict[str, tuple[Tensor, Tensor]]
    init: str

    def shared(self, backbone: Backbone, places: int, first_layer: int, seed: int) -> Tensor:
        """The shared prompt's upper layers, cut or extended to `places`, [L, 2, H, places, D]."""
        assert self.prompt is not None
        upper = self.prompt[first_layer - backbone.info.layers :]
        return resize(upper, places, lambda missing: self.scratch(backbone, missing, first_layer, seed))

    def scratch(self, backbone: Backbone, places: int, first_layer: int, seed: int) -> Tensor:
        """A prompt that has seen no task, [L, 2, H, places, D], L the layers from `first_layer` up."""
        return make_prompt(self.init, backbone, places, seed, first_layer)


def make_prompt(init: str, backbone: Backbone, places: int, seed: int, first_layer: int) -> Tensor:
    """A new deep prompt for a backbone, by the name of an initialiser.

    Returns:
        [L, 2, H, places, D], L counting the prompted layers.

    Raises:
        InputError: an unknown initialiser.
    """
    info = backbone.info
    if init == "normal":
        return normal((info.layers - first_layer, info.heads, places, info.head_size), seed)
    if init == "vocabulary":
        return vocabulary(backbone.states_of, backbone.ordinary_tokens(), places, seed)[first_layer:]
    raise InputError(
        "unknown initialiser",
        where="prompt.init",
        found=init,
        expected=INITIALISERS,
        nearest=nearest(init, INITIALISERS),
    )
