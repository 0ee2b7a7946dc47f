"""The attention seam: where soft prompts enter a frozen backbone.

One function is registered with transformers' public `AttentionInterface`. The prompts of a batch reach it as the
keyword argument `prompts` of the model's own forward. It puts each row's prompt keys and values in front of the layer's
own, extends the mask, and calls scaled dot product attention. So no model code is copied, no `past_key_values` is
abused, and a prompt consumes no positions.

P-tuning v2 (Liu et al. 2021, section 3.2): "prompts in different layers are added as prefix tokens".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.padding import turned

SEAM = "deepprompt"
"""The name under which the seam is registered; pass it as `attn_implementation`."""
SITE = "deepprompt_site"
"""The attribute of an attention module that holds its number, see `sites`."""


@dataclass
class PromptStates:
    """The prompts of one batch, as plain tensors. Rows are in the order of their first layers.

    Args:
        layers: site (see `sites`) → [K_l, 2, H, P, D], keys at 0, values at 1: of the K prompts the first K_l, those
            in use there.
        index: [B], the prompt of each row.
        lengths: [K], how many of the P places each prompt really has.
        firsts: [B] ascending, the layer at which each row's prompt begins; only needed where rows enter.
        entering: layer → [B_l, T, M], the rows whose prompts begin there and their activations so far; rows that no
            entry names begin at the embeddings.
        absent: site → [K_l], which of the prompts do not stand there though they have begun; where all do, none.
        moved: [B], how many positions each row's own tokens are moved by (see `positions`); None where none are.
    """

    layers: Mapping[int, Tensor]
    index: Tensor
    lengths: Sequence[int]
    firsts: Sequence[int] = ()
    entering: Mapping[int, Tensor] = field(default_factory=dict)
    absent: Mapping[int, tuple[bool, ...]] = field(default_factory=dict)
    moved: Tensor | None = None
    _masks: dict[tuple[Any, ...], tuple[Tensor | None, Tensor | None]] = field(
        default_factory=dict, repr=False, init=False
    )
    _seen: dict[tuple[bool, ...], Tensor | None] = field(default_factory=dict, repr=False, init=False)

    def rows(self, layer: int) -> int:
        """How many rows, the first ones, have begun at or below a layer."""
        if not self.entering:
            return self.index.shape[0]
        return bisect_right(self.firsts, layer)

    def enter(self, layer: int, hidden: Tensor) -> Tensor:
        """A layer's input: the rows that were on their way, [.., T, M], and those that enter here; [B_l, T, M]."""
        joining = self.entering.get(layer)
        here = self.rows(layer)
        if joining is None:
            return hidden if hidden.shape[0] == here else hidden[:here]
        before = here - joining.shape[0]
        return torch.cat([hidden[:before], joining]) if before else joining

    def repeated(self, times: int) -> PromptStates:
        """The same with every row `times` times in a row, as beams are; of rows that begin at the embeddings."""
        return replace(self, index=self.index.repeat_interleave(times))

    def turned(self, by: Tensor) -> PromptStates:
        """The same for rows [B] that are turned to the left, see `padding`."""
        ends = {layer: self.rows(layer) for layer in self.entering}
        own = {layer: by[ends[layer] - len(rows) : ends[layer]] for layer, rows in self.entering.items()}
        return replace(self, entering={layer: turned(rows, own[layer]) for layer, rows in self.entering.items()})

    def at(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of every row for one layer, each [B_l, H, P, D]; None where the layer has no prompt."""
        stacked = self.layers.get(layer)  # [K_l, 2, H, P, D]
        if stacked is None or stacked.shape[3] == 0:
            return None
        rows = self.rows(layer)
        if len(self.lengths) == 1:
            each = stacked.expand(rows, -1, -1, -1, -1)  # one prompt for all rows: no copy
        else:
            each = stacked.index_select(0, self.index[:rows])  # [B_l, 2, H, P, D]
        key, value = each.unbind(1)  # not indexing: its gradient is one stack instead of two tensors of zeros and a sum
        return key, value

    def extend(self, layer: int, mask: Tensor | None, query: Tensor, key: Tensor, causal: bool) -> Tensor | None:
        """The layer's mask with P columns for the prompt in front: [B_l, 1, Tq or 1, P + Tk], or None when all is seen.

        Layers share one mask, so the answer is remembered for the forward pass.
        """
        missing = self.absent.get(layer, ())
        memo = (id(mask), query.shape[0], query.shape[2], key.shape[2], causal, missing)
        if memo not in self._masks:
            if len(self._masks) > MASKS_KEPT:  # each step of a generation has masks of its own
                self._masks.clear()
            # The original is kept beside the result: were it freed, its id could be reused by another mask.
            self._masks[memo] = (mask, self._extend(missing, mask, query, key, causal))
        return self._masks[memo][1]

    def _extend(
        self, missing: tuple[bool, ...], mask: Tensor | None, query: Tensor, key: Tensor, causal: bool
    ) -> Tensor | None:
        rows, own, asked = query.shape[0], key.shape[2], query.shape[2]
        if mask is None and causal:
            # transformers leaves out a purely causal mask and lets the kernel draw the triangle; with prompt columns in
            # front the kernel would draw it in the wrong place.
            mask = torch.ones(asked, own, dtype=torch.bool, device=key.device).tril(own - asked)[None, None]
        seen = self._present(missing)
        if mask is None and seen is None:
            return None
        if mask is None:
            mask = torch.ones(1, 1, 1, own, dtype=torch.bool, device=key.device)
        elif mask.shape[0] > rows:
            mask = mask[:rows]  # the rest have not entered yet
        if seen is None:
            present = torch.ones(1, 1, 1, self._places, dtype=torch.bool, device=key.device)
        else:
            present = seen[:rows, None, None, :]  # [B_l, 1, 1, P]
        if mask.dtype != torch.bool:  # additive: 0 where seen, very negative where not
            hidden = torch.zeros_like(present, dtype=mask.dtype)
            present = hidden.masked_fill(~present, torch.finfo(mask.dtype).min)
        present = present.expand(rows, mask.shape[1], mask.shape[2], -1)
        return torch.cat([present, mask.expand(rows, -1, -1, -1)], dim=-1)

    def _present(self, missing: tuple[bool, ...]) -> Tensor | None:
        """Which places each row sees, [B, P]; None where every row sees all, and no mask need say so."""
        if missing not in self._seen:
            gone = (*missing, *[False] * (len(self.lengths) - len(missing)))
            lengths = [0 if away else length for length, away in zip(self.lengths, gone, strict=True)]
            full = min(lengths) >= self._places
            own = None if full else torch.tensor(lengths, device=self.index.device)[self.index]  # [B]
            self._seen[missing] = None if own is None else torch.arange(self._places, device=own.device) < own[:, None]
        return self._seen[missing]

    @property
    def _places(self) -> int:
        return next(iter(self.layers.values())).shape[3]


MASKS_KEPT = 16
"""More masks than one forward pass has."""


def prompted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    prompts: PromptStates | None = None,
    capture: dict[int, tuple[Tensor, Tensor]] | None = None,
    calls: list[tuple[nn.Module, torch.Size, torch.Size]] | None = None,
    trunk: object = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention with prompt keys and values in front of the layer's own.

    Args:
        query: [B, heads, Tq, D]. key, value: [B, H, Tk, D], H the number of key/value heads (grouped heads included).
        attention_mask: what transformers' `sdpa_mask` made: boolean [B, 1, Tq, Tk], additive, or None.
        prompts: the batch's prompts; None is the bare backbone.
        capture: when given, receives this layer's own keys and values (for initialisation from real activations).
        calls: when given, is told that this module called (see `sites`).
        trunk: meant for the layers (see `pipeline.backbone.layers`); it passes by here.

    Returns:
        [B, Tq, heads, D], and None in place of attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if calls is not None:
        calls.append((module, query.shape, key.shape))
    layer: int | None = getattr(module, SITE, None)
    if capture is not None and layer is not None:
        capture[layer] = (key.detach(), value.detach())
    own = prompts.at(layer) if prompts is not None and layer is not None else None
    if prompts is not None and layer is not None and own is not None:
        given = kwargs.pop("is_causal", None)
        causal = bool(getattr(module, "is_causal", True) if given is None else given) and query.shape[2] > 1
        attention_mask = prompts.extend(layer, attention_mask, query, key, causal)
        prompt_key, prompt_value = own
        key = torch.cat([prompt_key.to(key.dtype), key], dim=2)  # [B, H, P + Tk, D]
        value = torch.cat([prompt_value.to(value.dtype), value], dim=2)
        bias = kwargs.get("position_bias")
        if bias is not None:  # a prompt has no position, and so no bias for its distance (T5)
            kwargs["position_bias"] = F.pad(bias, (prompt_key.shape[2], 0))
        kwargs["is_causal"] = False
    elif prompts is not None and attention_mask is not None and attention_mask.shape[0] > query.shape[0]:
        attention_mask = attention_mask[: query.shape[0]]  # no prompt here, and the rest of the rows enter higher up
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        return _on_cpu(module, query, key, value, attention_mask, **kwargs), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


SHORT = 160
"""Keys up to which plain matrix products beat the fused kernel in bfloat16 on a processor."""


def _on_cpu(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Tensor:
    """Attention in bfloat16 on a processor, [B, Tq, heads, D].

    The fused kernel's backward pass is several times slower in bfloat16 than in float32. Short rows go through plain
    products, which the tiles compute, as transformers' own eager attention does; long ones through the kernel in
    float32, since the products' [Tq, Tk] scores would be kept for the way back.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    causal = kwargs.get("is_causal")
    causal = (
        query.shape[2] > 1 and mask is None and bool(getattr(module, "is_causal", True) if causal is None else causal)
    )
    plain = not causal and kwargs.get("position_bias") is None and query.shape[1] == key.shape[1]
    if not plain or key.shape[2] > SHORT:
        out, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **kwargs)
        return out.to(query.dtype)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    scores = (query * scale) @ key.transpose(-1, -2)  # [B, H, Tq, Tk]
    if mask is not None:
        if mask.dtype == torch.bool:  # adding has no gradient to compute, filling has
            # not -inf: padding on the left sees nothing at all, and must come to a number that is masked later
            mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, torch.finfo(scores.dtype).min)
        scores = scores.add_(mask)
    return (scores.softmax(-1) @ value).transpose(1, 2)


def register_seam() -> None:
    """Makes the seam known to transformers. Calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(SEAM, prompted_attention)
    AttentionMaskInterface.register(SEAM, sdpa_mask)
