"""The backbone as transformers' `generate` drives it: greedy and beam search are the library's, no loop is ours.

`generate` wants a model that gives the next token's scores. A `Writer` is that and no more: it asks a function, which
knows the backbone, the prompts and whose row is whose. So the search needs to know nothing of prompts: it repeats each
row's number for its beams, the prompts follow by it, and the cache holds the row's own tokens alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from pipeline.backbone.attention import PromptStates
from pipeline.backbone.embeddings import inserting
from pipeline.backbone.frozen import Backbone

Step = Callable[[Tensor, Tensor, Any, Tensor], Tensor]
"""New tokens [B, T], which columns of all so far are tokens [B, T'], the cache, each row's number [B] → scores of the
next token, [B, V]."""


class Writer(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """What `generate` calls.

    Args:
        step: gives the next token's scores. vocabulary: V. device: of the backbone.
    """

    def __init__(self, step: Step, vocabulary: int, device: torch.device) -> None:
        super().__init__(PreTrainedConfig(vocab_size=vocabulary, num_hidden_layers=1))
        self.step = step
        self._device = device

    @property
    def device(self) -> torch.device:
        """Where the backbone is: it has no weights of its own to tell."""
        return self._device

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        row: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """The scores behind the last column. row: [B], each row's number before it was repeated for its beams."""
        assert row is not None
        seen = past_key_values.get_seq_length()
        if attention_mask is None:  # `generate` drops a mask that says nothing
            attention_mask = input_ids.new_ones(input_ids.shape[0], seen + input_ids.shape[1])
        scores = self.step(input_ids, attention_mask, past_key_values, row)
        return CausalLMOutputWithPast(logits=scores[:, None], past_key_values=past_key_values)

    def write(
        self, input_ids: Tensor, attention_mask: Tensor, cache: Any, end: int, pad: int, **how: Any
    ) -> list[list[int]]:
        """What is written behind each row, without the token that ends it.

        Args:
            input_ids: [B, T], padded on the left. attention_mask: [B, T]. cache: empty. end: the token that ends a
            text. pad: fills up those that have ended. how: settings of `GenerationConfig`.
        """
        config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=pad, **how)
        row = torch.arange(len(input_ids), device=input_ids.device)
        found = self.generate(
            input_ids, config, attention_mask=attention_mask.long(), past_key_values=cache, row=row
        )  # [B, T + U]
        texts = found[:, input_ids.shape[1] :].tolist()
        return [text[: text.index(end)] if end in text else text for text in texts]


def cache_of(backbone: Backbone) -> Any:
    """An empty cache for what the backbone writes."""
    config: Any = backbone.model.config
    if config.is_encoder_decoder:
        return EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
    return DynamicCache(config=config)


def read_on(
    backbone: Backbone,
    tokens: Tensor,
    mask: Tensor,
    cache: Any,
    prompts: PromptStates | None,
    inserted: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """A decoder's hidden states of its newest tokens, [B, T, M].

    Args:
        tokens: [B, T]. mask: [B, T'] of all tokens so far, padded on the left: a row's positions count its tokens.
        cache: of the tokens before, written on. prompts: the rows'. inserted: see `Backbone.forward`.
    """
    extra = {}
    if _counts_positions(type(backbone.model).forward):
        extra["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    with inserting(backbone.embeddings[0], inserted):
        out = backbone.model(
            input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True, prompts=prompts, **extra
        )
    hidden: Tensor = out.last_hidden_state
    return hidden


@cache
def _counts_positions(forward: Callable[..., Any]) -> bool:
    """Whether a family's model takes positions; asked at every token, so it is looked up once."""
    return "position_ids" in inspect.signature(forward).parameters
