"""The attention seam: where soft prompts enter a frozen backbone.

One function is registered with transformers' public `AttentionInterface`. The prompts of a batch reach it as the
keyword argument `prompts` of the model's own forward. It puts each row's prompt keys and values in front of the layer's
own, extends the mask, and calls scaled dot product attention. So no model code is copied, no `past_key_values` is
abused, and a prompt consumes no positions.

P-tuning v2 (Liu et al. 2021, section 3.2): "prompts in different layers are added as prefix tokens".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SEAM = "deepprompt"
"""The name under which the seam is registered; pass it as `attn_implementation`."""


@dataclass
class PromptStates:
    """The prompts of one batch, as plain tensors.

    Args:
        layers: one tensor per prompted layer, [N, 2, H, P, D]: keys at 0, values at 1.
        index: [B], the prompt of each row.
        lengths: [N], how many of the P places each prompt really has.
        first_layer: the layer that `layers[0]` belongs to.
    """

    layers: Sequence[Tensor]
    index: Tensor
    lengths: Tensor
    first_layer: int = 0
    _masks: dict[tuple[int, int, bool], tuple[Tensor | None, Tensor | None]] = field(default_factory=dict, repr=False)
    _present: Tensor | None = field(default=None, repr=False)
    _ragged: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        places = self.layers[0].shape[3] if self.layers else 0
        lengths = self.lengths.index_select(0, self.index)  # [B]
        self._ragged = bool((lengths < places).any())
        self._present = torch.arange(places, device=lengths.device) < lengths[:, None]  # [B, P]

    def at(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of every row for one layer, each [B, H, P, D]; None where the layer has no prompt."""
        place = layer - self.first_layer
        if not 0 <= place < len(self.layers):
            return None
        stacked = self.layers[place]  # [N, 2, H, P, D]
        if stacked.shape[3] == 0:
            return None
        if stacked.shape[0] == 1:
            rows = stacked.expand(self.index.shape[0], -1, -1, -1, -1)  # one prompt for all rows: no copy
        else:
            rows = stacked.index_select(0, self.index)  # [B, 2, H, P, D]
        return rows[:, 0], rows[:, 1]

    def extend(self, mask: Tensor | None, query: Tensor, key: Tensor, causal: bool) -> Tensor | None:
        """The layer's mask with P columns for the prompt in front: [B, 1, Tq or 1, P + Tk], or None when all is seen.

        Layers share one mask, so the answer is remembered for the forward pass.
        """
        memo = (id(mask), key.shape[2], causal)
        if memo not in self._masks:
            # The original is kept beside the result: were it freed, its id could be reused by another mask.
            self._masks[memo] = (mask, self._extend(mask, query, key, causal))
        return self._masks[memo][1]

    def _extend(self, mask: Tensor | None, query: Tensor, key: Tensor, causal: bool) -> Tensor | None:
        assert self._present is not None
        rows, own, asked = self.index.shape[0], key.shape[2], query.shape[2]
        if mask is None and causal:
            # transformers leaves out a purely causal mask and lets the kernel draw the triangle; with prompt columns in
            # front the kernel would draw it in the wrong place.
            mask = torch.ones(asked, own, dtype=torch.bool, device=key.device).tril(own - asked)[None, None]
        if mask is None and not self._ragged:
            return None
        present = self._present[:, None, None, :]  # [B, 1, 1, P]
        if mask is None:
            mask = torch.ones(1, 1, 1, own, dtype=torch.bool, device=key.device)
        if mask.dtype != torch.bool:  # additive: 0 where seen, very negative where not
            hidden = torch.zeros_like(present, dtype=mask.dtype)
            present = hidden.masked_fill(~present, torch.finfo(mask.dtype).min)
        present = present.expand(rows, mask.shape[1], mask.shape[2], -1)
        return torch.cat([present, mask.expand(rows, -1, -1, -1)], dim=-1)


def prompted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    prompts: PromptStates | None = None,
    capture: dict[int, tuple[Tensor, Tensor]] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention with prompt keys and values in front of the layer's own.

    Args:
        query: [B, heads, Tq, D]. key, value: [B, H, Tk, D], H the number of key/value heads (grouped heads included).
        attention_mask: what transformers' `sdpa_mask` made: boolean [B, 1, Tq, Tk], additive, or None.
        prompts: the batch's prompts; None is the bare backbone.
        capture: when given, receives this layer's own keys and values (for initialisation from real activations).

    Returns:
        [B, Tq, heads, D], and None in place of attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    layer: int | None = getattr(module, "layer_idx", None)
    if capture is not None and layer is not None:
        capture[layer] = (key.detach(), value.detach())
    own = prompts.at(layer) if prompts is not None and layer is not None else None
    if prompts is not None and own is not None:
        given = kwargs.pop("is_causal", None)
        causal = bool(getattr(module, "is_causal", True) if given is None else given) and query.shape[2] > 1
        attention_mask = prompts.extend(attention_mask, query, key, causal)
        prompt_key, prompt_value = own
        key = torch.cat([prompt_key.to(key.dtype), key], dim=2)  # [B, H, P + Tk, D]
        value = torch.cat([prompt_value.to(value.dtype), value], dim=2)
        bias = kwargs.get("position_bias")
        if bias is not None:
            kwargs["position_bias"] = F.pad(bias, (prompt_key.shape[2], 0))
        kwargs["is_causal"] = False
    dtype = query.dtype
    if dtype == torch.bfloat16 and query.device.type == "cpu":
        # The CPU kernel's backward pass is several times slower in bfloat16 than in float32; the matrix products around
        # it, where bfloat16 gains most, stay in bfloat16.
        query, key, value = query.float(), key.float(), value.float()
    out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return out.to(dtype), None


def register_seam() -> None:
    """Makes the seam known to transformers. Calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(SEAM, prompted_attention)
    AttentionMaskInterface.register(SEAM, sdpa_mask)
