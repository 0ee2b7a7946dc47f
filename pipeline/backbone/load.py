"""Loading a backbone once: its weights, its tokenizer, what it is held in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.backbone.attention import SEAM, register_seam
from pipeline.backbone.frozen import Backbone
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.sites import Kind
from pipeline.backbone.source import describe
from pipeline.errors import InputError, nearest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KERNELS_KEPT = "64"
"""oneDNN, torch's kernels on a processor, compiles one for every shape of matrices and keeps 1024 of them, about half a
megabyte each. The passes of a search differ in shape: its kernels would take more memory than all its prompts."""


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as the config names it."""
    return next(name for name, one in DTYPES.items() if one == dtype)


def resolve_dtype(name: str, *, where: str = "backbone.dtype") -> str:
    """`auto` → bfloat16 where the hardware multiplies in it (a GPU, or a CPU with AMX tiles), else float32.

    Raises:
        InputError: an unknown name.
    """
    if name == "auto":
        fast = torch.cuda.is_available() or torch.cpu._is_amx_tile_supported()
        return "bfloat16" if fast else "float32"
    if name not in DTYPES:
        choices = [*DTYPES, "auto"]
        raise InputError("unknown dtype", where=where, found=name, expected=choices, nearest=nearest(name, choices))
    return name


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
    if mapped is not None:
        from pipeline.backbone.mapped import read_mapped

        weights = read_mapped(info, dtype, mapped)
    else:
        weights = read_weights(info, dtype)
    return Backbone(weights.to(device), load_tokenizer(info), info, checkpointing, mapped)


def read_weights(info: BackboneInfo, dtype: str) -> nn.Module:
    """The transformers model of a folder with the seam in place; under ZeRO-3 only this rank's shard stays."""
    from transformers import AutoModel
    from transformers.utils import logging

    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # read once, when the first kernel is made
        os.environ.setdefault(cache, KERNELS_KEPT)
    register_seam()
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # a missing pooler is expected: heads of ours replace it
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            info.folder, dtype=DTYPES[dtype], attn_implementation=SEAM, trust_remote_code=False
        )
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    if getattr(model, "pooler", None) is not None:
        # Heads read hidden states. A checkpoint without a pooler would have got a random one, another in each process.
        model.pooler = None
    return model
