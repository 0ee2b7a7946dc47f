"""The attentions that a prompt may stand in, found by running the model on torch's meta device.

A *site* is one attention of a model, numbered in the order they run. An encoder or a decoder has one per layer. An
encoder-decoder has one per layer of its encoder, then two per layer of its decoder: to itself, and to the encoder's
output (*cross*). A prompt stands in the sites that the run switched on, from its first one up.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from pipeline.backbone.attention import SEAM, register_seam
from pipeline.backbone.families import refusal
from pipeline.backbone.layers import find_layers, only

Kind = Literal["encoder", "decoder", "cross"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What an attention attends to: an encoder's own tokens, a decoder's own, or from a decoder the encoder's output."""


@dataclass(frozen=True)
class Probed:
    """A model's shape.

    Args:
        sites: the names of the attention modules by number. kinds: of each.
        heads, head_size: H and D. width: M of the hidden states that heads read. embedding: E. parameters: in all.
        multiplied: weights that a token is multiplied with on its way to where heads read: those of a shared layer
            (ALBERT) as often as it runs, those of a decoder that does not run not at all.
    """

    sites: tuple[str, ...]
    kinds: tuple[Kind, ...]
    heads: int
    head_size: int
    width: int
    embedding: int
    parameters: int
    multiplied: int


def probe(config: Any, causal: bool, where: str) -> Probed:
    """Builds a model without weights, runs it and sees which attentions call the seam, and in which order.

    Raises:
        InputError: not exactly one attention in every layer calls it; the attentions differ in their heads.
    """
    from transformers import AutoModel

    register_seam()
    calls: list[tuple[nn.Module, torch.Size, torch.Size]] = []  # the attention; its queries' shape, its keys'
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config, attn_implementation=SEAM, trust_remote_code=False).eval()
            parameters = sum(p.numel() for p in model.parameters())
            unroll(model)
            stack = reading_stack(model)
            out = stack(**_tokens(2), position_ids=torch.arange(2)[None], calls=calls)[0]
            own = len(calls)
            names = {id(module): name for name, module in model.named_modules()}
            with only(find_layers(model, [names[id(module)] for module, _, _ in calls]), 1, own):
                stack(**_tokens(2), position_ids=torch.arange(2)[None])  # rows enter above the first layer
            if stack is not model:
                memory = {"encoder_hidden_states": out, "encoder_attention_mask": _tokens(2)["attention_mask"]}
                model.get_decoder()(**_tokens(3), **memory, calls=calls)
    except Exception as error:  # a family's own code may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise refusal(config.model_type, reason, where) from error
    shapes = {(key[1], key[3]) for _, _, key in calls}
    if len(shapes) > 1:
        raise refusal(config.model_type, f"its attentions differ in heads and head size, {sorted(shapes)}", where)
    ((heads, head_size),) = shapes
    first: Kind = "decoder" if causal else "encoder"
    above: list[Kind] = ["decoder" if query[2] == key[2] else "cross" for _, query, key in calls[own:]]
    sites = tuple(names[id(module)] for module, _, _ in calls)
    table = stack.get_input_embeddings().weight
    multiplied = sum(p.numel() for module in stack.modules() for p in module.parameters(recurse=False)) - table.numel()
    kinds = (*[first] * own, *above)
    return Probed(sites, kinds, heads, head_size, out.shape[-1], table.shape[1], parameters, multiplied)


def _tokens(count: int) -> dict[str, Any]:
    """A row of tokens. Its four-dimensional mask is taken as it is: making one would look at values, and meta tensors
    have none; so would a guess of positions from a mask."""
    mask = torch.ones(1, 1, 1, count, dtype=torch.bool)
    return {"input_ids": torch.zeros(1, count, dtype=torch.long), "attention_mask": mask, "use_cache": False}


def reading_stack(model: Any) -> Any:
    """The part of a model whose hidden states heads read: all of it, or an encoder-decoder's encoder.

    Of an encoder-decoder the encoder's output is what stands for a text (Sentence-T5, Ni et al. 2022, section 3; so
    transformers labels tokens with T5): every token has seen the whole text, and no decoder need run.
    """
    return model.get_encoder() if model.config.is_encoder_decoder else model


def unroll(model: Any) -> None:
    """Gives a model whose layers are one (ALBERT) a list of as many as run, all of the same weights.

    Each is then a place of its own where rows enter and prompts stand. Called a second time it changes nothing.
    """
    encoder: Any = getattr(model, "encoder", None)
    groups = getattr(encoder, "albert_layer_groups", None)
    if groups is None or len(groups) == model.config.num_hidden_layers:
        return
    layers, each = model.config.num_hidden_layers, model.config.num_hidden_layers / len(groups)
    run = [groups[int(layer / each)] for layer in range(layers)]  # as its own forward does
    shared: dict[int, Any] = {id(one.config): one.config for one in model.modules() if hasattr(one, "config")}
    shared |= {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    encoder.albert_layer_groups = nn.ModuleList(copy.deepcopy(one, dict(shared)) for one in run)
    model.config.num_hidden_groups = layers
