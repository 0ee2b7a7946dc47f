"""What the benchmarks run on: the GPU where there is one, for both sides."""

from __future__ import annotations

import os
from typing import Any

import torch

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def settle() -> None:
    """Waits until what a GPU was told to do is done: it is told ahead, and a clock would stop too early."""
    if GPU:
        torch.cuda.synchronize()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    processor = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {"gpu": torch.cuda.get_device_name(0), **processor} if GPU else processor
