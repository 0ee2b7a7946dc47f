"""The backbone's layers one by one: rows enter at any of them, and layers that nobody needs are passed by.

A frozen layer below the first prompted one computes the same for every prompt, epoch and candidate. So a row need not
begin at the embeddings: it *enters* at its prompt's first layer, with the activations that the bare backbone has there
(its *trunk*). The model's own forward is used as it is, no code is copied: a hook on each layer lets rows in, and the
layers outside the wanted range are exchanged for ones that do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Skipped(nn.Module):
    """Stands where a layer is not wanted: passes hidden states on as they are.

    Args:
        layer: the one it stands for; what models ask their layers (the kind of attention) it answers alike.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.attention_type = getattr(layer, "attention_type", None)
        self.relative = (relative_attention(layer),)  # in a tuple, so that it is not registered

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.relative[0] is None:
            return hidden
        # T5: a layer also hands on the bias of relative positions, which the first one makes for all.
        bias = args[1]
        if bias is None:
            bias = self.relative[0].compute_bias(hidden.shape[1], hidden.shape[1], device=hidden.device)
        return hidden, bias, None


def relative_attention(layer: nn.Module) -> Any:
    """The attention of a layer that hands on a bias of relative positions (T5 and its kin); None of another layer."""
    inner = getattr(layer, "layer", None)
    return getattr(inner[0], "SelfAttention", None) if isinstance(inner, nn.ModuleList) else None


def find_layers(model: nn.Module, sites: Sequence[str]) -> nn.ModuleList:
    """The list of the layers that hold these attentions, one each and in order.

    Raises:
        ValueError: there is no such list.
    """
    parts = [name.split(".") for name in sites]
    for depth in range(1, len(parts[0])):
        found = model.get_submodule(".".join(parts[0][:depth]))
        held = [name[: depth + 1] for name in parts]
        if isinstance(found, nn.ModuleList) and held == [[*parts[0][:depth], str(i)] for i in range(len(found))]:
            return found
    raise ValueError("not exactly one attention in each of its layers takes them")


def checkpoint_layers(layers: Iterable[nn.Module]) -> None:
    """Has every layer keep its input alone for the backward pass, and compute the rest again on the way back.

    transformers' own checkpointing runs in training mode only, where dropout is on; a frozen backbone is never in it.
    """
    for layer in layers:
        layer.forward = partial(_checkpointed, layer.forward)


def _checkpointed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


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
