"""What passes of like length save a pretraining step whose tasks differ in length, side by side with one pass for all.

`python -m tests.benchmarks.mixed` prints one JSON object; `--out FILE` writes it too. Nothing is asserted. The tasks
are those of the results table that MiniLM reads (`tests.benchmarks.table`), whose datasets lie beside the checkout; a
step has about 1024 tokens, as by default. The two sides take the same steps in turn; the ratio is the median of the
ratios of a step.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pipeline.backbone import load_backbone, resolve_dtype
from pipeline.tasks import PreparedTask
from pipeline.training.passes import splitting
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.pretraining.shared import PretrainSettings
from pipeline.training.world import LocalWorld
from tests.benchmarks.device import DEVICE, machine, settle
from tests.benchmarks.table.entries import ENTRIES, LENGTH
from tests.benchmarks.table.ours import prepared
from tests.benchmarks.telling import asking, tell

TOKENS = 1024
SETTINGS = PretrainSettings(
    steps=1000, rows=0, learning_rate=1e-2, warmup=0.1, exponent=0.5, cap=None, seed=0, length=LENGTH,
    init="vocabulary", first_layer=0, pooling="mean", checkpoint_every=0,
)  # fmt: skip
ONE_PASS = 10**9
"""A pass's cost at which no second one is worth it."""


def measure(rounds: int) -> dict[str, Any]:
    """Both sides in turn, each step of the one and of the other."""
    tasks = {one.name: prepared(one.name) for one in ENTRIES if one.backbone == "minilm"}
    dtype = resolve_dtype("auto")
    backbone = load_backbone("minilm", dtype=dtype, device=DEVICE)
    rows = rows_of(tasks)
    times: dict[str, list[float]] = {"one pass": [], "passes of like length": []}
    counts = []
    with TemporaryDirectory() as folder:
        training = Pretraining(backbone, tasks, replace(SETTINGS, rows=rows), LocalWorld(Path(folder)))
        for step in range(rounds + 2):
            for side, own in times.items():
                with pytest.MonkeyPatch.context() as patch:
                    if side == "one pass":
                        patch.setitem(splitting.PASS_COST, DEVICE, ONE_PASS)
                    passes = training.passes_at(step)
                    settle()
                    began = time.perf_counter()
                    training.trainer.update(passes, {0: 1.0}, places=training.places_at(step))
                    settle()
                    own.append(time.perf_counter() - began)
            counts.append(len(passes))
    one, several = (own[2:] for own in times.values())
    return {
        "dtype": dtype,
        "rows": rows,
        "passes": statistics.mean(counts),
        "median_seconds": {side: round(statistics.median(own[2:]), 4) for side, own in times.items()},
        "one_pass_over_several": round(statistics.median(a / b for a, b in zip(one, several, strict=True)), 3),
    }


def rows_of(tasks: dict[str, PreparedTask]) -> int:
    """Rows that hold about `TOKENS` tokens; all tasks have about as many rows."""
    return round(TOKENS / statistics.mean(float(task.encoded["train"].tokens.mean()) for task in tasks.values()))


def main() -> None:
    parser = asking(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    result = {"benchmark": "mixed", "machine": machine(), **measure(chosen.rounds)}
    tell(result, chosen.out)


if __name__ == "__main__":
    main()
