"""Where a row's own tokens stand when its prompt takes up positions, as prefix tuning in PEFT does.

Prompts of ours consume none: the first token of a row stands at position 0, whatever its prompt. PEFT hands a prefix
over as `past_key_values`, so the models count on from its length. Prompts trained that way answer right only where
their rows' tokens are moved as far.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ROBERTA_LIKE = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm"})
"""Families that count the tokens that are not padding, from pad_token_id + 1 on."""


def moved_positions(config: Any, input_ids: Tensor, by: Tensor) -> Tensor:
    """The positions that the model itself would give right-padded rows, each row's moved.

    Args:
        config: transformers' of the model. input_ids: [B, T]. by: [B], how far each row is moved; 0 for not at all.

    Returns:
        [B, T]. Of padding, which nothing sees, any that the model has.
    """
    if config.model_type in ROBERTA_LIKE:
        own = input_ids.ne(config.pad_token_id).long()  # [B, T]
        return (own.cumsum(1) + by[:, None]) * own + config.pad_token_id
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    moved = places + by[:, None]  # [B, T]
    most = getattr(config, "max_position_embeddings", None)
    return moved if most is None else moved.clamp(max=most - 1)  # padding may reach beyond the table
