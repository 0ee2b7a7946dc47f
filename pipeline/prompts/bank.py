"""The prompt bank: all prompts in play. A row of a batch picks its prompt by index.

Each prompt is a parameter of its own, as long and as deep as it is, and the prompts that a batch uses are stacked when
it runs. So a search over lengths and depths pays for no padding, a step touches only the prompts of its rows, each has
its own learning rate and its own Adam, and one that is done leaves the bank while the rest go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PromptBank(nn.Module):
    """Deep prompts on one backbone, of any length and any first layer up to the last.

    Args:
        prompts: for each prompt its keys and values, [L_n, 2, H, P_n, D], fp32; L_n counts its prompted layers.
        layers: of the backbone. Prompt n stands in the top L_n of them.

    Raises:
        ValueError: no prompt; prompts of different heads or head sizes; more prompted layers than there are.
    """

    def __init__(self, prompts: Sequence[Tensor], layers: int) -> None:
        super().__init__()
        if not prompts:
            raise ValueError("a prompt bank needs at least one prompt")
        shapes = {(p.shape[1], p.shape[2], p.shape[4]) for p in prompts}
        if len(shapes) != 1:
            raise ValueError(f"prompts of one bank must agree in [·, 2, H, ·, D], found {sorted(shapes)}")
        if any(not 0 < p.shape[0] <= layers for p in prompts):
            raise ValueError(f"a prompt has {max(p.shape[0] for p in prompts)} layers, the backbone {layers}")
        self.layers = layers
        self.prompts = nn.ParameterList([nn.Parameter(p.detach().float().clone()) for p in prompts])

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """[N] places of each prompt."""
        return [p.shape[3] for p in self.prompts]

    @property
    def first_layers(self) -> list[int]:
        """[N] the lowest layer that each prompt stands in."""
        return [self.layers - p.shape[0] for p in self.prompts]

    def stack(self, chosen: Sequence[int], places: Sequence[int], firsts: Sequence[int]) -> dict[int, Tensor]:
        """Prompts as the attention seam takes them, whole or cut to their first places and their upper layers.

        Args:
            chosen: K places in the bank.
            places: [K] how many of each prompt's places are used, counted from its first.
            firsts: [K] ascending, the lowest layer in which each is used.

        Returns:
            Layer → [K_l, 2, H, P, D], the first K_l of the chosen, those in use at that layer; P is the longest.
        """
        longest = max(places)
        cut = []
        for n, size, first in zip(chosen, places, firsts, strict=True):
            own = self.prompts[n]
            own = own[first - self.layers :, :, :, :size]
            cut.append(own if size == longest else F.pad(own, (0, 0, 0, longest - size)))
        stacked: dict[int, list[Tensor]] = {}
        for depth, group in groupby(cut, key=len):
            # unbind, not indexing: its gradient is one stack instead of a full tensor of zeros per layer
            for layer, piece in enumerate(torch.stack(list(group)).unbind(1), start=self.layers - depth):
                stacked.setdefault(layer, []).append(piece)
        return {layer: pieces[0] if len(pieces) == 1 else torch.cat(pieces) for layer, pieces in stacked.items()}

    @torch.no_grad()
    def bake(self, n: int) -> Tensor:
        """Prompt `n` as a plain tensor, [L_n, 2, H, P_n, D], fp32 on the CPU."""
        return self.prompts[n].detach().cpu().clone()
