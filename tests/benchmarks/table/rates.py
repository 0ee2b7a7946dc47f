"""`python -m tests.benchmarks.table.rates`: each method's learning rates on dev of two tasks, one seed.

The table has the best of each; deep prompts, the default method, go by the product's own defaults. One rate for all
tasks: a search per task would not be the same budget for all methods.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from pipeline.training.world import save_json
from tests.benchmarks.table import entries, ours, peft_side

TASKS = ("subj", "snips_slots")
GRIDS = {
    "prefix": [1e-3, 3e-3, 1e-2],
    "prompt_tuning": [1e-2, 3e-2, 1e-1],
    "p_tuning": [1e-3, 3e-3, 1e-2],
    "head": [1e-2, 3e-2, 1e-1],
    "finetune": [5e-5, 1e-4, 3e-4],
    "peft_prefix": [3e-3, 1e-2, 3e-2],
    "peft_prompt_tuning": [1e-2, 3e-2, 1e-1],
}
RESULTS = Path(__file__).parents[1] / "results" / "table_rates.json"


def best(method: str) -> float | None:
    """A method's learning rate, the best on dev, measured where it is not known yet; None for the product's default."""
    if method not in GRIDS:
        return None
    scores = [own for task in TASKS if (own := _known(method, task)) is not None]
    return max(GRIDS[method], key=lambda rate: mean(own[f"{rate:g}"] for own in scores))


def _known(method: str, task: str) -> dict[str, float] | None:
    """Rate → the best dev score; None where the peer crashes."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    own = found.setdefault(method, {})
    if task not in own:
        own[task] = _measure(method, task)
        save_json(RESULTS, found)
        print(f"{method} on {task}: {own[task]}", file=sys.stderr, flush=True)
    known: dict[str, float] | None = own[task]
    return known


def _measure(method: str, task: str) -> dict[str, float] | None:
    rates = GRIDS[method]
    if method in entries.PEFT:
        prepared = ours.prepared(task)
        runs = {f"{rate:g}": peft_side.train(prepared, method, 0, rate) for rate in rates}
        crashed = any("crashes" in run for run in runs.values())
        return None if crashed else {rate: round(run["dev"], 6) for rate, run in runs.items()}
    told = ours.scores(task, method, rates, seeds=1)
    return {rate: round(dev, 6) for rate, dev in told["rates"].items()}


if __name__ == "__main__":
    for name in GRIDS:
        print(name, best(name))
