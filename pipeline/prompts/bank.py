"""The prompt bank: all prompts in play, stacked in one tensor.

A row of a batch picks its prompt by index; a mixed batch, a search, an ensemble and a server differ only in that map.

Every prompt has its own learning rate under any Adam-type optimizer: the parameter holds `prompt / rate` and the bank
multiplies by `rate`. Adam's step does not depend on the scale of the gradient, so a step of one unit on the parameter
is a step of `rate` on the prompt. The optimizer needs no groups, and a prompt trained among many ends where it would
alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PromptBank(nn.Module):
    """N deep prompts over the same layers, padded to the longest.

    Args:
        prompts: for each prompt its keys and values, [L, 2, H, P_n, D], fp32; L counts the prompted layers.
        rates: the factor of each prompt (see above); 1 everywhere when nothing is trained.
        first_layer: the lowest prompted layer of the backbone.

    Raises:
        ValueError: no prompt, or prompts of different layers, heads or head sizes.
    """

    def __init__(self, prompts: Sequence[Tensor], rates: Sequence[float] | None = None, first_layer: int = 0) -> None:
        super().__init__()
        if not prompts:
            raise ValueError("a prompt bank needs at least one prompt")
        shapes = {(p.shape[0], p.shape[1], p.shape[2], p.shape[4]) for p in prompts}
        if len(shapes) != 1:
            raise ValueError(f"prompts of one bank must agree in [L, 2, H, ·, D], found {sorted(shapes)}")
        rates = list(rates) if rates is not None else [1.0] * len(prompts)
        longest = max(p.shape[3] for p in prompts)
        stacked = torch.zeros(len(prompts), *prompts[0].shape[:3], longest, prompts[0].shape[4])
        for n, (prompt, rate) in enumerate(zip(prompts, rates, strict=True)):
            stacked[n, :, :, :, : prompt.shape[3]] = prompt.float() / rate
        self.first_layer = first_layer
        self.kv = nn.Parameter(stacked)  # [N, L, 2, H, P, D]
        self.lengths: Tensor
        self.rates: Tensor
        self.register_buffer("lengths", torch.tensor([p.shape[3] for p in prompts]))  # [N]
        self.register_buffer("rates", torch.tensor(rates, dtype=torch.float32))  # [N]

    def __len__(self) -> int:
        return self.kv.shape[0]

    def forward(self, chosen: Tensor | None = None) -> tuple[Tensor, ...]:
        """The prompts as the attention seam takes them.

        Args:
            chosen: [K] indices of the prompts wanted; None for all.

        Returns:
            One [K, 2, H, P, D] per prompted layer.
        """
        kv = self.kv if chosen is None else self.kv.index_select(0, chosen)
        rates = self.rates if chosen is None else self.rates.index_select(0, chosen)
        # unbind, not indexing: its gradient is one stack instead of a full tensor of zeros per layer
        return (kv * rates.view(-1, 1, 1, 1, 1, 1)).unbind(1)

    @torch.no_grad()
    def bake(self, n: int) -> Tensor:
        """Prompt `n` as a plain tensor of its own length, [L, 2, H, P_n, D], fp32 on the CPU."""
        baked = self.kv[n] * self.rates[n]
        return baked[:, :, :, : int(self.lengths[n])].detach().cpu().clone()
