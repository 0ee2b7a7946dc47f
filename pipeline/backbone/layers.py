"""The backbone's layers one by one: rows enter at any of them, and layers that nobody needs are passed by.

A frozen layer below the first prompted one computes the same for every prompt, epoch and candidate. So a row need not
begin at the embeddings: it *enters* at its prompt's first layer, with the activations that the bare backbone has there
(its *trunk*). The model's own forward is used as it is, no code is copied: a hook on each layer lets rows in, and the
layers outside the wanted range are exchanged for ones that do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Skipped(nn.Module):
    """Stands where a layer is not wanted: passes hidden states on as they are.

    Args:
        layer: the one it stands for; what models ask their layers (the kind of attention) it answers alike.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.attention_type = getattr(layer, "attention_type", None)

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden


def find_layers(model: nn.Module, count: int) -> nn.ModuleList:
    """The list of a model's `count` transformer layers.

    Raises:
        ValueError: there is no such list.
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"the model has no list of {count} layers")


def open_entrances(layers: nn.ModuleList) -> None:
    """Has every layer look, before it runs, whether rows enter there or its input is asked for.

    Both reach it as keyword arguments of the model's forward: `prompts` (`PromptStates`, which says who enters) and
    `trunk` (a dict whose keys are the layers whose input is wanted).
    """
    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(_entrance(index), with_kwargs=True)


def _entrance(index: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        trunk, prompts = kwargs.get("trunk"), kwargs.get("prompts")
        if trunk is not None and index in trunk:
            trunk[index] = args[0].detach()
        if prompts is None:
            return None
        rows, turns = prompts.rows(index), kwargs.get("position_embeddings")
        if isinstance(turns, tuple) and turns[0].shape[0] > max(rows, 1):  # rotations per row: those of the rows here
            kwargs = {**kwargs, "position_embeddings": tuple(turn[:rows] for turn in turns)}
        return (prompts.enter(index, args[0]), *args[1:]), kwargs

    return hook


@contextmanager
def only(layers: nn.ModuleList, start: int, stop: int) -> Iterator[None]:
    """While the context lasts the model consists of its layers `start` to `stop`, the latter excluded.

    Whatever hangs on the others (hooks that gather a sharded layer, say) does not run.
    """
    own = dict(layers._modules)
    try:
        for index, (name, layer) in enumerate(own.items()):
            if not start <= index < stop and layer is not None and not isinstance(layer, Skipped):
                stand_in = Skipped(layer)
                stand_in.register_forward_pre_hook(_entrance(index), with_kwargs=True)
                layers._modules[name] = stand_in
        yield
    finally:
        layers._modules.update(own)
