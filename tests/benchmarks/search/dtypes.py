"""Number formats for what is frozen: how fast the trunk's forward pass is in each, and how far its result is off."""

from __future__ import annotations

import copy
import warnings
from statistics import median
from typing import Any

import torch

from pipeline.backbone import load_backbone
from tests.benchmarks.search.setting import timed

ROWS, TOKENS, LAYER, ROUNDS = 64, 32, 5, 9


def compare() -> dict[str, Any]:
    """Seconds of a forward pass up to layer 5 of random rows, and the relative error of its result against fp32."""
    warnings.filterwarnings("ignore")
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (ROWS, TOKENS), generator=draw)
    mask = torch.ones_like(ids, dtype=torch.bool)
    kinds = {"float32": load_backbone("minilm"), "bfloat16": load_backbone("minilm", dtype="bfloat16")}
    quantised = copy.deepcopy(kinds["float32"])
    torch.ao.quantization.quantize_dynamic(quantised.model, {torch.nn.Linear}, inplace=True)
    kinds["int8, dynamic"] = quantised
    times: dict[str, list[float]] = {name: [] for name in kinds}
    found = {name: one.trunk(ids, mask, None, [LAYER])[LAYER].float() for name, one in kinds.items()}
    for _ in range(ROUNDS):
        for name, one in kinds.items():
            times[name].append(timed(lambda one=one: one.trunk(ids, mask, None, [LAYER]))[0])
    exact = found["float32"]
    return {
        name: {
            "milliseconds": 1000 * median(times[name]),
            "relative error": float((found[name] - exact).norm() / exact.norm()),
        }
        for name in kinds
    }
