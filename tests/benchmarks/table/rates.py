"""`python -m tests.benchmarks.table.rates`: each method's learning rates on dev, one seed, on one task of each kind.

The table has the best of each for all tasks of the kind. Deep prompts, with prefix tuning's network and without, go by
the product's own defaults, which tell sentences and words apart in the same way. A search per task would not be the
same budget for all methods.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.table import entries, kept, ours, peft_side

CHOSEN_ON = {"sentences": "subj", "many classes": "banking77", "words": "snips_slots", "texts": "e2e_clean"}
"""Kind of task (see `Entry.kind`) → the one on which the rates are chosen."""
GRIDS = {
    "prompt_tuning": [3e-3, 1e-2, 3e-2, 1e-1],
    "p_tuning": [1e-2, 3e-2, 1e-1, 3e-1],
    "head": [3e-3, 1e-2, 3e-2, 1e-1],
    "finetune": [2e-5, 5e-5, 1e-4, 3e-4],  # at 1e-3 it gains a point on snips_slots, and does not train on wnut17
    "peft_prefix": [3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
    "peft_prompt_tuning": [1e-2, 3e-2, 1e-1, 3e-1],
}
OF_TEXTS = {"finetune": [1e-3, 3e-3]}
"""Besides, where a text is written: small models are trained at higher rates."""
RESULTS = Path(__file__).parents[1] / "results" / "table_rates.json"


def best(method: str, task: str) -> float | None:
    """A method's learning rate for a task, the best on dev of its kind, measured where it is not known yet.

    None for the product's default. A peer that crashes on the task of that kind has its rate for sentences.
    """
    if method not in GRIDS:
        return None
    scores = _known(method, CHOSEN_ON[entries.entry(task).kind]) or _known(method, CHOSEN_ON["sentences"])
    return None if scores is None else max(scores, key=lambda rate: (scores[rate], rate))


def grid(method: str, task: str) -> list[float]:
    """The rates that are tried on a task."""
    return [*GRIDS[method], *(OF_TEXTS.get(method, []) if entries.entry(task).kind == "texts" else [])]


def _known(method: str, task: str) -> dict[float, float] | None:
    """Rate → the best dev score, of the grid; None where the peer crashes."""
    known: dict[str, dict[str, float] | None] = kept.read(RESULTS).get(method, {})
    own = known.get(task, {})
    rates = grid(method, task)
    missing = [] if own is None else [rate for rate in rates if f"{rate:g}" not in own]
    if own is not None and missing:
        found = _measure(method, task, missing)
        own = None if found is None else {**own, **found}
        with kept.adding(RESULTS) as results:
            results.setdefault(method, {})[task] = own
        print(f"{method} on {task}: {own}", file=sys.stderr, flush=True)
    return None if own is None else {rate: own[f"{rate:g}"] for rate in rates}


def _measure(method: str, task: str, rates: list[float]) -> dict[str, float] | None:
    if method in entries.PEFT:
        prepared = ours.prepared(task)
        runs = {f"{rate:g}": peft_side.train(prepared, method, 0, rate) for rate in rates}
        crashed = any("crashes" in run for run in runs.values())
        return None if crashed else {rate: run["dev"] for rate, run in runs.items()}
    told = ours.scores(task, method, rates, seeds=1)
    return dict(told["rates"])


if __name__ == "__main__":
    for name in GRIDS:
        print(name, *(best(name, task) for task in CHOSEN_ON.values() if entries.offered(task, name)))
