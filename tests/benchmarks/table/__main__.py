"""`python -m tests.benchmarks.table`: methods × tasks × seeds, under one budget; prints the table as Markdown.

Each piece is written to the results file as soon as it is there; a second call measures what is missing. Nothing is
asserted. `--busy` marks the pieces of this call as measured beside other work: their seconds say little, the other
figures are the same. `--again busy` measures those once more. Several calls with tasks or methods of their own may run
side by side, each with its share of the cores (`OMP_NUM_THREADS`).
"""

from __future__ import annotations

import argparse
import time
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from pipeline.backbone import resolve_dtype
from tests.benchmarks.device import DEVICE, machine
from tests.benchmarks.table import entries, kept, ours, peft_side, rates
from tests.benchmarks.table.render import render

RESULTS = Path(__file__).parents[1] / "results" / "table.json"
Pieces = dict[str, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", metavar="TASK", choices=entries.NAMES, default=entries.NAMES)
    parser.add_argument("--methods", nargs="+", choices=entries.METHODS, default=list(entries.METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, choices=range(entries.SEEDS), help="of the whole way")
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
    waiting = [one for one in wanted if one[1] != entries.WHOLE and _due(pieces.get("/".join(one)), chosen.again)]
    if entries.WHOLE in chosen.methods:  # a run does all the tasks
        waiting += [(str(seed), entries.WHOLE) for seed in _seeds_due(pieces, chosen.again, chosen.seeds)]
    began = time.monotonic()
    for place, (task, method) in enumerate(waiting):
        if time.monotonic() > end:
            break
        at = time.monotonic()
        left = f", about {(at - began) / place * (len(waiting) - place) / 60:.0f} min left" if place else ""
        console.print(f"{place + 1} of {len(waiting)}: {task}/{method}{left}")
        if method == entries.WHOLE:
            found = ours.whole(int(task))
            with kept.adding(chosen.out) as result:
                _add_seed(result["pieces"], int(task), found, chosen.busy)
        else:
            piece = {**measure(task, method, chosen.again is not None), **_conditions(chosen.busy)}
            with kept.adding(chosen.out) as result:
                result["pieces"][f"{task}/{method}"] = piece
            console.print(f"  {_said(piece)}  ({time.monotonic() - at:.0f} s)")
    page = render(kept.read(chosen.out))
    chosen.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def measure(task: str, method: str, fresh: bool) -> dict[str, Any]:
    """A piece: a method on a task, all seeds."""
    rate = rates.best(method, task)
    if method not in entries.PEFT:
        return ours.piece(task, method, rate, fresh)
    assert rate is not None
    prepared, seeds = ours.prepared(task), []
    for seed in range(entries.SEEDS):
        found = peft_side.train(prepared, method, seed, rate)
        if "crashes" in found:
            return {"metric": prepared.metric, **found}
        seeds.append(found)
    return {
        "metric": prepared.metric,
        "steps": seeds[0]["steps"],
        "learning_rate": seeds[0]["rate"],
        "parameters": {"trained": seeds[0]["parameters"]},
        "seconds": mean(one["seconds"] for one in seeds),
        "seeds": [{"test": one["test"], "dev": one["dev"]} for one in seeds],
    }


def _seeds_due(pieces: Pieces, again: str | None, wanted: list[int] | None) -> list[int]:
    """The seeds whose whole run is missing, among those that are wanted."""
    known = next((piece for key, piece in pieces.items() if key.endswith(f"/{entries.WHOLE}")), None)
    done = set() if _due(known, again) or known is None else {one["seed"] for one in known["seeds"]}
    return [seed for seed in wanted or range(entries.SEEDS) if seed not in done]


def _add_seed(pieces: Pieces, seed: int, run: dict[str, dict[str, Any]], busy: bool) -> None:
    """Puts what a whole run found of each task beside what the other seeds' found."""
    for name, found in run.items():
        before = pieces.get(f"{name}/{entries.WHOLE}", {}).get("seeds", [])
        seeds = sorted(
            [*(one for one in before if one["seed"] != seed), {"seed": seed, **found}], key=itemgetter("seed")
        )
        pieces[f"{name}/{entries.WHOLE}"] = {
            "metric": found["metric"],
            "seeds": seeds,
            "parameters": {"trained": round(mean(one["trained"] for one in seeds))},
            "seconds": mean(known)
            if (known := [one["seconds"] for one in seeds if one["seconds"] is not None])
            else None,
            **_conditions(busy),
        }


def _conditions(busy: bool) -> dict[str, Any]:
    """What a piece's seconds depend on."""
    return {"busy": busy, "dtype": resolve_dtype("auto"), "device": DEVICE}


def _due(piece: dict[str, Any] | None, again: str | None) -> bool:
    return piece is None or again == "all" or (again == "busy" and piece["busy"])


def _setting() -> dict[str, Any]:
    return {
        "rows": {"train": entries.TRAIN, "dev": entries.DEV, "test": entries.TEST},
        "steps": entries.STEPS,
        "batch": entries.BATCH,
        "seeds": entries.SEEDS,
        "places": entries.LENGTH,
        "machine": machine(),
    }


def _said(piece: dict[str, Any]) -> str:
    if "crashes" in piece:
        return f"crashes: {piece['crashes']}"
    scores = [one["test"] for one in piece["seeds"]]
    return f"test {mean(scores):.4f}, {piece['seconds']:.1f} s a seed"


if __name__ == "__main__":
    main()
