"""`python -m tests.benchmarks.table.rates`: each method's learning rates on dev of two tasks, one seed.

The table has the best of each. One rate for all tasks: a search per task would not be the same budget for all methods.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from pipeline.training.world import save_json
from tests.benchmarks.table import entries, ours, peft_side

TASKS = ("subj", "snips_slots")
GRIDS = {
    "deep": [1e-2, 3e-2, 1e-1],
    "prefix": [1e-3, 3e-3, 1e-2],
    "prompt_tuning": [1e-2, 3e-2, 1e-1],
    "p_tuning": [1e-3, 3e-3, 1e-2],
    "head": [1e-2, 3e-2, 1e-1],
    "finetune": [5e-5, 1e-4, 3e-4],
    "peft_prefix": [3e-3, 1e-2, 3e-2],
    "peft_prompt_tuning": [1e-2, 3e-2, 1e-1],
}
RESULTS = Path(__file__).parents[1] / "results" / "table_rates.json"


def main() -> None:
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for method, rates in GRIDS.items():
        for task in TASKS:
            if task not in found.setdefault(method, {}):
                found[method][task] = _dev(task, method, rates)
                save_json(RESULTS, found)
                print(method, task, found[method][task], flush=True)
        scores = [own for own in found[method].values() if own is not None]
        print(method, "→", max(scores[0], key=lambda rate: mean(own[rate] for own in scores)), flush=True)


def _dev(task: str, method: str, rates: list[float]) -> dict[str, float] | None:
    """Rate → the best dev score; None where the peer crashes."""
    if method in entries.PEFT:
        runs = {f"{rate:g}": peft_side.train(ours.prepared(task), method, 0, rate=rate) for rate in rates}
        return None if any("crashes" in run for run in runs.values()) else {r: run["dev"] for r, run in runs.items()}
    told = ours.scores(task, method, ["compare.seeds=1", f"compare.learning_rates={{{method}: {rates}}}"])
    return dict(told["rates"])


if __name__ == "__main__":
    main()
