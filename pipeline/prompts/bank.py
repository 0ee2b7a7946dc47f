"""The prompt bank: all prompts in play. A row of a batch picks its prompt by index.

Each prompt is a parameter of its own, as long and as deep as it is, and the prompts that a batch uses are stacked when
it runs. So a search over lengths and depths pays for no padding, a step touches only the prompts of its rows, each has
its own learning rate and its own Adam, and one that is done leaves the bank while the rest go on.

A *deep* prompt is keys and values in the layers it stands in, an *input* prompt vectors among the input embeddings. In
training an encoder may stand behind either (`encoders`); what the backbone sees is its value.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.prompts.encoders import Encoder, Identity
from pipeline.prompts.layout import Layout


class PromptBank(nn.Module):
    """Prompts on one backbone, of any length and, where they are deep, any first layer up to the last.

    Args:
        prompts: for each prompt its value, fp32, or an encoder of it: keys and values [L_n, 2, H, P_n, D] where it is
            deep, L_n counting its prompted layers, else vectors [P_n, E].
        layers: of the backbone, its sites. A deep prompt n stands in the top L_n of them.
        layouts: for each prompt where it stands in a row; None for a deep one. By default all are deep.
        standing: for each prompt the sites that it may stand in, ascending, where those are not all: it stands in the
            last L_n of them. None for all.
        entrances: how many of the layers, the lowest, rows may enter at; by default all.

    Raises:
        ValueError: no prompt; prompts of different heads, head sizes or widths; more prompted layers than there are; a
            deep prompt with a layout, an input prompt without one.
    """

    def __init__(
        self,
        prompts: Sequence[Tensor | Encoder],
        layers: int,
        layouts: Sequence[Layout | None] | None = None,
        standing: Sequence[Sequence[int] | None] | None = None,
        entrances: int | None = None,
    ) -> None:
        super().__init__()
        if not prompts:
            raise ValueError("a prompt bank needs at least one prompt")
        self.layouts = [None] * len(prompts) if layouts is None else list(layouts)
        encoders = [Identity(p) if isinstance(p, Tensor) else p for p in prompts]
        self.encoders = nn.ModuleList(encoders)
        self.shapes = [encoder.shape for encoder in encoders]
        wrong = [n for n, shape in enumerate(self.shapes) if (len(shape) == 5) != (self.layouts[n] is None)]
        if len(self.layouts) != len(prompts) or wrong:
            raise ValueError(f"input prompts, and they alone, have a layout: prompts {wrong}")
        deep = [shape for shape in self.shapes if len(shape) == 5]
        forms = {(s[1], s[2], s[4]) for s in deep}
        if len(forms) > 1:
            raise ValueError(f"prompts of one bank must agree in [·, 2, H, ·, D], found {sorted(forms)}")
        if len({shape[1] for shape in self.shapes if len(shape) == 2}) > 1:
            raise ValueError("input prompts of one bank must agree in their width")
        where = [None] * len(prompts) if standing is None else list(standing)
        room = [range(layers) if own is None else tuple(own) for own in where]
        if any(len(s) == 5 and not 0 < s[0] <= len(own) for s, own in zip(self.shapes, room, strict=True)):
            raise ValueError(f"a prompt has {max(shape[0] for shape in deep)} layers, the backbone {layers}")
        self.layers = layers
        self.entrances = layers if entrances is None else entrances
        self.sites = [
            tuple(own[-s[0] :]) if len(s) == 5 else () for s, own in zip(self.shapes, room, strict=True)
        ]  # [N] each prompt's, ascending
        self._held: dict[int, tuple[Tensor, Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.encoders)

    @property
    def lengths(self) -> list[int]:
        """[N] places of each prompt."""
        return [shape[3] if len(shape) == 5 else shape[0] for shape in self.shapes]

    @property
    def first_layers(self) -> list[int]:
        """[N] the lowest layer that each prompt stands in, or rows enter at: of an input prompt the first."""
        return [min(own[0], self.entrances - 1) if own else 0 for own in self.sites]

    def value(self, n: int) -> Tensor:
        """Prompt `n` as the backbone sees it."""
        encoder = self.encoders[n]
        if self._held is None or isinstance(encoder, Identity):
            value: Tensor = encoder()
            return value
        if n not in self._held:
            made = encoder()
            self._held[n] = made, made.detach().requires_grad_(made.requires_grad)
        return self._held[n][1]

    @contextmanager
    def once(self) -> Iterator[None]:
        """While the context lasts each encoder is evaluated at most once, whatever the number of rows and passes.

        The passes' gradients gather in its value, and at the end go back into the encoder, all at once.
        """
        self._held = {}
        try:
            yield
            ends = [(made, leaf.grad) for made, leaf in self._held.values() if leaf.grad is not None]
            if ends:
                torch.autograd.backward([made for made, _ in ends], [gradient for _, gradient in ends])
        finally:
            self._held = None

    def stack(
        self, chosen: Sequence[int], places: Sequence[int], firsts: Sequence[int]
    ) -> tuple[dict[int, Tensor], dict[int, tuple[bool, ...]]]:
        """Deep prompts as the attention seam takes them, whole or cut to their first places and their upper layers.

        Args:
            chosen: K places in the bank.
            places: [K] how many of each prompt's places are used, counted from its first; 0 for an input prompt.
            firsts: [K] ascending, the lowest layer in which each is used: where its rows begin.

        Returns:
            Site → [K_l, 2, H, P, D], the first K_l of the chosen, those that have begun there; P is the longest. And
            site → [K_l] which of them do not stand there all the same; sites where all do are left out.
        """
        longest = max(places)
        if all(self.layouts[n] is not None for n in chosen):
            return {self.layers - 1: torch.zeros(len(chosen), 2, 1, 0, 1, device=self.value(chosen[0]).device)}, {}
        of_deep = self.value(next(n for n in chosen if self.layouts[n] is None))
        _, two, heads, _, width = of_deep.shape
        cut, where = [], []
        for n, size, first in zip(chosen, places, firsts, strict=True):
            if self.layouts[n] is not None:  # its row has no keys and values of a prompt in any layer
                where.append(tuple(range(first, self.layers)))
                cut.append(of_deep.new_zeros(len(where[-1]), two, heads, longest, width))
                continue
            where.append(tuple(site for site in self.sites[n] if site >= first))
            own = self.value(n)[len(self.sites[n]) - len(where[-1]) :, :, :, :size]
            cut.append(own if size == longest else F.pad(own, (0, 0, 0, longest - size)))
        if any(own != tuple(range(first, self.layers)) for own, first in zip(where, firsts, strict=True)):
            return self._scattered(cut, where, firsts)
        stacked: dict[int, list[Tensor]] = {}
        for depth, group in groupby(cut, key=len):
            # unbind, not indexing: its gradient is one stack instead of a full tensor of zeros per layer
            for layer, piece in enumerate(torch.stack(list(group)).unbind(1), start=self.layers - depth):
                stacked.setdefault(layer, []).append(piece)
        return {layer: pieces[0] if len(pieces) == 1 else torch.cat(pieces) for layer, pieces in stacked.items()}, {}

    def _scattered(
        self, cut: Sequence[Tensor], where: Sequence[tuple[int, ...]], firsts: Sequence[int]
    ) -> tuple[dict[int, Tensor], dict[int, tuple[bool, ...]]]:
        """`stack` where a prompt lacks a site above its first. cut: K values [L_n, 2, H, P, D]. where: their sites."""
        pieces = [dict(zip(own, value.unbind(0), strict=True)) for own, value in zip(where, cut, strict=True)]
        nothing = torch.zeros_like(next(value for value in cut if len(value))[0]) if any(map(len, cut)) else None
        stacked: dict[int, Tensor] = {}
        absent: dict[int, tuple[bool, ...]] = {}
        for site in range(self.layers):
            begun = pieces[: bisect_right(firsts, site)]
            gone = tuple(site not in own for own in begun)
            if nothing is None or all(gone):
                continue  # no prompt stands there: the bare attention
            stacked[site] = torch.stack([own.get(site, nothing) for own in begun])
            if any(gone):
                absent[site] = gone
        if not stacked:
            stacked[self.layers - 1] = cut[0].new_zeros(len(cut), *cut[0].shape[1:3], 0, cut[0].shape[4])
        return stacked, absent

    def vectors(self, chosen: Sequence[int], places: Sequence[int]) -> Tensor:
        """The input prompts among the chosen one after the other, [ΣP, E], each cut to its places (`Layout.kept`).

        Args:
            chosen: K places in the bank. places: [K], 0 for a deep prompt.
        """
        pieces = []
        for n, size in zip(chosen, places, strict=True):
            layout = self.layouts[n]
            if layout is not None:
                own = self.value(n)
                whole = own.shape[0]
                pieces.append(own if size == whole else own[layout.kept(whole, size)])
        return torch.cat(pieces)

    @torch.no_grad()
    def bake(self, n: int) -> Tensor:
        """Prompt `n` as a plain tensor, [L_n, 2, H, P_n, D] or [P_n, E], fp32 on the CPU."""
        return self.value(n).detach().cpu().clone()
