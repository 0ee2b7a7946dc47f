"""Loading a backbone once: its weights, its tokenizer, what it is held in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone.frozen import Backbone
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.mapped import read_mapped
from pipeline.backbone.sites import Kind
from pipeline.backbone.source import describe
from pipeline.backbone.weights import read_weights
from pipeline.errors import InputError


def load_tokenizer(info: BackboneInfo) -> Any:
    """The backbone's fast tokenizer.

    Raises:
        InputError: the folder has none, or only a slow one (words could not be followed to their tokens).
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(info.folder, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise InputError(
            f"the tokenizer cannot be read: {error}", where="backbone.model", found=str(info.folder)
        ) from error
    if not tokenizer.is_fast:
        raise InputError("the backbone has no fast tokenizer", where="backbone.model", found=str(info.folder))
    return tokenizer


def load_backbone(
    model: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    mapped: Path | None = None,
    attention: Sequence[Kind] | None = None,
    checkpointing: bool = False,
) -> Backbone:
    """A whole backbone in one process.

    Args:
        mapped: a folder where the weights are kept in `dtype` and memory-mapped: one copy for all processes of a node,
            of which only the layers that run are ever read. For a processor; a GPU has its own copy.
        attention: see `describe`. checkpointing: see `Backbone`.

    Raises:
        InputError: see `describe`; `mapped` cannot be written.
    """
    info = describe(model, revision, attention=attention)
    weights = read_mapped(info, dtype, mapped) if mapped is not None else read_weights(info, dtype)
    return Backbone(weights.to(device), load_tokenizer(info), info, checkpointing, mapped)
