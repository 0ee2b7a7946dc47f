"""What the frozen weights are held in."""

from __future__ import annotations

import torch

from pipeline.errors import InputError, nearest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as the config names it."""
    return next(name for name, one in DTYPES.items() if one == dtype)


def resolve_dtype(name: str, *, where: str = "backbone.dtype") -> str:
    """`auto` → bfloat16 where the hardware multiplies in it, else float32.

    A GPU does; so does a CPU with AMX tiles, or with AVX-512's bfloat16 product alone, where a step takes about half
    as long as in float32.

    Raises:
        InputError: an unknown name.
    """
    if name == "auto":
        cpu = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return "bfloat16" if torch.cuda.is_available() or cpu else "float32"
    if name not in DTYPES:
        choices = [*DTYPES, "auto"]
        raise InputError("unknown dtype", where=where, found=name, expected=choices, nearest=nearest(name, choices))
    return name
