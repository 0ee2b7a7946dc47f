"""`python -m tests.benchmarks.table`: methods × tasks × seeds, under one budget; prints the table as Markdown.

Each piece is written to the results file as soon as it is there; a second call measures what is missing. Nothing is
asserted. `--busy` marks the pieces of this call as measured beside other work: their seconds say little, the other
figures are the same. `--again busy` measures those once more. Several calls with tasks or methods of their own may run
side by side, each with its share of the cores (`OMP_NUM_THREADS`).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from rich.console import Console

from pipeline.backbone import resolve_dtype
from tests.benchmarks.table import entries, kept, ours, peft_side, rates
from tests.benchmarks.table.render import render

RESULTS = Path(__file__).parents[1] / "results" / "table.json"
Pieces = dict[str, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", metavar="TASK", choices=entries.NAMES, default=entries.NAMES)
    parser.add_argument("--methods", nargs="+", choices=entries.METHODS, default=list(entries.METHODS))
    parser.add_argument("--busy", action="store_true", help="the machine does other work beside")
    parser.add_argument("--again", choices=["busy", "all"], help="measure pieces again")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no piece after so many")
    chosen = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    with kept.adding(chosen.out) as result:
        result["setting"] = _setting()
        pieces: Pieces = result.setdefault("pieces", {})
    end = time.monotonic() + 60 * chosen.minutes
    wanted = [(task, method) for task in chosen.only for method in chosen.methods if entries.offered(task, method)]
    waiting = [one for one in wanted if _due(pieces.get("/".join(one)), chosen.again)]
    began, done = time.monotonic(), set[str]()
    for place, (task, method) in enumerate(waiting):
        if time.monotonic() > end:
            break
        key = f"{task}/{method}"
        if key in done:
            continue  # a whole run does all the tasks
        at = time.monotonic()
        left = f", about {(at - began) / place * (len(waiting) - place) / 60:.0f} min left" if place else ""
        console.print(f"{place + 1} of {len(waiting)}: {key}{left}")
        found = measure(task, method, chosen.again is not None)
        with kept.adding(chosen.out) as result:
            for name, piece in found.items():
                result["pieces"][f"{name}/{method}"] = {**piece, "busy": chosen.busy}
        done |= {f"{name}/{method}" for name in found}
        console.print(f"  {_said(found[task])}  ({time.monotonic() - at:.0f} s)")
    page = render(kept.read(chosen.out))
    chosen.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def measure(task: str, method: str, fresh: bool) -> Pieces:
    """A piece; of the whole way all tasks at once."""
    if method == entries.WHOLE:
        runs = [ours.whole(seed) for seed in range(entries.SEEDS)]
        return {
            name: {
                "metric": runs[0][name]["metric"],
                "seeds": [run[name] for run in runs],
                "parameters": {"trained": round(mean(run[name]["trained"] for run in runs))},
                "seconds": mean(run[name]["seconds"] for run in runs),
            }
            for name in runs[0]
        }
    rate = rates.best(method, entries.entry(task).type)
    if method in entries.PEFT:
        assert rate is not None
        prepared, seeds = ours.prepared(task), []
        for seed in range(entries.SEEDS):
            found = peft_side.train(prepared, method, seed, rate)
            if "crashes" in found:
                return {task: {"metric": prepared.metric, **found}}
            seeds.append(found)
        keys = {key: seeds[0][key] for key in ("steps",)} | {"learning_rate": seeds[0]["rate"]}
        seconds = mean(one["seconds"] for one in seeds)
        numbers = {"trained": seeds[0]["parameters"]}
        scores = [{"test": one["test"], "dev": one["dev"]} for one in seeds]
        return {task: {"metric": prepared.metric, **keys, "parameters": numbers, "seconds": seconds, "seeds": scores}}
    return {task: ours.piece(task, method, rate, fresh)}


def _due(piece: dict[str, Any] | None, again: str | None) -> bool:
    return piece is None or again == "all" or (again == "busy" and piece["busy"])


def _setting() -> dict[str, Any]:
    return {
        "rows": {"train": entries.TRAIN, "dev": entries.DEV, "test": entries.TEST},
        "steps": entries.STEPS,
        "batch": entries.BATCH,
        "seeds": entries.SEEDS,
        "places": entries.LENGTH,
        "multiplied in": resolve_dtype("auto"),
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__},
    }


def _said(piece: dict[str, Any]) -> str:
    if "crashes" in piece:
        return f"crashes: {piece['crashes']}"
    scores = [one["test"] for one in piece["seeds"]]
    return f"test {mean(scores):.4f}, {piece['seconds']:.1f} s a seed"


if __name__ == "__main__":
    main()
