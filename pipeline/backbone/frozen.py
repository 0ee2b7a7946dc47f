"""The frozen backbone: never written, always in evaluation mode."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backbone.attention import SITE, PromptStates
from pipeline.backbone.embeddings import inserting
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.layers import Skipped, checkpoint_layers, find_layers, only, open_entrances
from pipeline.backbone.positions import moved_positions
from pipeline.backbone.sites import reading_stack, unroll
from pipeline.backbone.vocabulary import Vocabulary, open_vocabulary
from pipeline.padding import left_padding, turned, turned_place, turned_rows

COMMON_TOKENS = 5000
"""Prompts start from the most common tokens only (Lester et al. 2021, section 3.2); vocabularies are ordered by
frequency."""


class Backbone(nn.Module):
    """A frozen pretrained transformer with the attention seam.

    Args:
        model: a transformers model without a task head, loaded with `attn_implementation=SEAM`.
        tokenizer: its fast tokenizer.
        info: what `describe` said of it. mapped: where its weights are kept, see `load_backbone`.
        checkpointing: in training, layers keep their inputs only and are computed again on the way back.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        info: BackboneInfo,
        checkpointing: bool = False,
        mapped: Path | None = None,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.info = info
        unroll(model)
        modules = dict(model.named_modules())
        for site, name in enumerate(info.sites):
            if name in modules:  # else its layer was not loaded
                setattr(modules[name], SITE, site)
        # In tuples, so that they are not registered a second time.
        self.layers = (find_layers(model, info.sites[: info.entrances]),)
        self._stack = (reading_stack(model),)
        self.embeddings: tuple[nn.Module] = (self._stack[0].get_input_embeddings(),)
        open_entrances(self.layers[0])
        if checkpointing:
            own = find_layers(model, info.sites[info.entrances :: 2]) if info.decodes else ()
            checkpoint_layers([layer for layer in (*self.layers[0], *own) if not isinstance(layer, Skipped)])
        self.vocabulary: Vocabulary | None = None
        self.mapped = mapped

    def open_vocabulary(self) -> Vocabulary:
        """The backbone's own language-model head, loaded when it is first asked for.

        Raises:
            InputError: the checkpoint has none.
        """
        if self.vocabulary is None:
            self.vocabulary = open_vocabulary(self.model, self.info, self.mapped)
        return self.vocabulary

    def scores(self, hidden: Tensor) -> Tensor:
        """What the language-model head makes of the hidden states at the positions that are read: [A, M] → [A, V]."""
        scores: Tensor = self.open_vocabulary()(hidden)
        return scores

    def train(self, mode: bool = True) -> Backbone:
        """Frozen means evaluation mode too: no dropout inside the backbone, whatever the modules around it do."""
        return super().train(False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        prompts: PromptStates | None = None,
        capture: dict[int, tuple[Tensor, Tensor]] | None = None,
        inserted: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Hidden states of the last layer that heads read: of an encoder-decoder, its encoder's.

        Args:
            input_ids: [B, T]. attention_mask: [B, T] bool, padded on the right or on the left. token_type_ids: [B, T]
                or None.
            prompts: the batch's prompts, and the activations of rows that enter above the embeddings; None for the bare
                model.
            capture: receives each layer's own keys and values.
            inserted: (place [S], vectors [S, E]) that stand in place of the tokens' own embeddings, `place` counted
                over all rows, row · T + column. Positions are the model's own: consecutive over the whole row, soft
                tokens counted (as PEFT does for prompt tuning).

        Returns:
            [B, T, M] in the backbone's dtype.
        """
        before = left_padding(attention_mask)
        if before is not None:
            rows = turned_rows(before, input_ids, attention_mask, token_type_ids)
            moved = None if prompts is None else prompts.turned(before)
            if inserted is not None:
                inserted = turned_place(inserted[0], before, input_ids.shape[1]), inserted[1]
            return turned(self(*rows, prompts=moved, capture=capture, inserted=inserted), -before)
        lowest = 0
        if prompts is not None and prompts.entering and not prompts.rows(min(prompts.entering) - 1):
            lowest = min(prompts.entering)  # every row enters there or above
        with inserting(self.embeddings[0], inserted):
            return self._run(
                lowest, self.info.entrances, input_ids, attention_mask, token_type_ids, prompts, capture=capture
            )

    def decode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        memory: Tensor,
        memory_mask: Tensor,
        prompts: PromptStates | None = None,
        past: Any = None,
        capture: dict[int, tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Hidden states of an encoder-decoder's decoder, under the rows' prompts in its own and its cross attention.

        Args:
            input_ids: [B, U], what the decoder has written so far, its start token first; with `past` its newest.
            attention_mask: [B, U] bool; with `past` of all it has written.
            memory: [B, T, M], what `forward` gave for the rows. memory_mask: [B, T] bool.
            prompts: the same rows', not entering anywhere.
            past: transformers' `EncoderDecoderCache`, which is written on; None for no cache. Prompts are not in it.

        Returns:
            [B, U, M].
        """
        before = None if past is not None else left_padding(attention_mask)
        if before is not None:
            rows = turned(input_ids, before), turned(attention_mask, before)
            return turned(self.decode(*rows, memory, memory_mask, prompts, capture=capture), -before)
        decoder: Any = self.model.get_decoder()  # type: ignore[operator]
        out = decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=memory,
            encoder_attention_mask=memory_mask,
            past_key_values=past,
            use_cache=past is not None,
            prompts=prompts,
            capture=capture,
        )
        hidden: Tensor = out.last_hidden_state
        return hidden

    @torch.no_grad()
    def trunk(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None, layers: Iterable[int]
    ) -> dict[int, Tensor]:
        """The inputs of chosen layers when no prompt is below them: what every prompt from there on starts from.

        Args:
            input_ids: [R, T]. attention_mask: [R, T] bool. token_type_ids: [R, T] or None.

        Returns:
            Layer → [R, T, M] in the backbone's dtype, constants of the frozen backbone. Nothing above the highest runs.
        """
        before = left_padding(attention_mask)
        if before is not None:
            ids, mask, types = turned_rows(before, input_ids, attention_mask, token_type_ids)
            return {layer: turned(states, -before) for layer, states in self.trunk(ids, mask, types, layers).items()}
        wanted: dict[int, Any] = dict.fromkeys(layers)
        self._run(0, max(wanted), input_ids, attention_mask, token_type_ids, None, trunk=wanted)
        return wanted

    def _run(
        self,
        start: int,
        stop: int,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
        prompts: PromptStates | None,
        **wanted: Any,
    ) -> Tensor:
        extra = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        if prompts is not None and prompts.moved is not None:
            extra["position_ids"] = moved_positions(self.model.config, input_ids, prompts.moved)
        # Where nothing is padded the kernel runs without a mask.
        mask = None if not self.info.causal and bool(attention_mask.all()) else attention_mask
        if any(isinstance(layer, Skipped) for layer in self.layers[0][start:stop]):
            raise RuntimeError(f"layers {start} to {stop} are needed, but the lower ones were not loaded")
        with only(self.layers[0], start, stop):
            stack = self._stack[0] if self.info.decodes else self.model  # a sharded model runs as a whole
            out = stack(input_ids=input_ids, attention_mask=mask, use_cache=False, prompts=prompts, **wanted, **extra)
        return out.last_hidden_state

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`; a sharded backbone gathers its layers again on the way."""
        if loss.requires_grad:  # hard prompts alone, answered by words, have nothing to train
            loss.backward()  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights, and so the activations between the layers, are held in."""
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())

    @torch.no_grad()
    def states_of(self, tokens: Tensor) -> Tensor:
        """The keys and values that the bare backbone computes for a sequence of tokens, at every site.

        An encoder-decoder reads and writes it.

        Args:
            tokens: [P].

        Returns:
            [L, 2, H, P, D], fp32 on the CPU.
        """
        pieces = []
        for piece in torch.split(tokens, self.info.context or len(tokens)):
            seen: dict[int, tuple[Tensor, Tensor]] = {}
            ids = piece[None].to(self.device)
            mask = torch.ones_like(ids, dtype=torch.bool)
            memory = self(ids, mask, capture=seen)
            if self.info.decodes:
                self.decode(ids, mask, memory, mask, capture=seen)
            layers = [torch.stack(seen[layer])[:, 0] for layer in range(self.info.layers)]  # each [2, H, P, D]
            pieces.append(torch.stack(layers).float().cpu())  # [L, 2, H, P, D]
        return torch.cat(pieces, dim=3)

    @torch.no_grad()
    def embeddings_of(self, tokens: Tensor) -> Tensor:
        """The input embeddings of tokens [P], as the layers get them before positions are added; [P, E], fp32 on the
        CPU."""
        embedded: Tensor = self.embeddings[0](tokens.to(self.device))
        return embedded.float().cpu()

    @cached_property
    def ordinary_tokens(self) -> Tensor:
        """Ids of common vocabulary tokens that stand for text: no special, unused or byte tokens, [at most 5000].

        Looked up once: every prompt of a search begins with some of them.
        """
        special = set(self.tokenizer.all_special_ids)
        tokens = self.tokenizer.convert_ids_to_tokens(range(min(len(self.tokenizer), self.info.vocabulary)))
        unused = ("[unused", "<0x")
        ids = [i for i, token in enumerate(tokens) if i not in special and token and not token.startswith(unused)]
        return torch.tensor(ids[:COMMON_TOKENS])

    def checksum(self) -> str:
        """sha256 of every weight in memory, those of an open language-model head among them: equal before and after a
        run, or the backbone was written."""
        whole = hashlib.sha256()
        head = self.vocabulary.weights() if self.vocabulary is not None else ()
        for name, tensor in chain(self.weights(), head):
            whole.update(name.encode())
            whole.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return whole.hexdigest()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight by name, in a fixed order, whole, one at a time."""
        yield from sorted(self.model.state_dict().items())
