"""The measurements, one function each; every one returns plain figures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import mean, median
from typing import Any

from pipeline.backbone import Backbone
from pipeline.tasks import PreparedTask
from pipeline.training.candidates import Trained
from pipeline.training.choice.select import choose_winner, ranked
from pipeline.training.evaluation.answering import answer_together
from tests.benchmarks import step as steps
from tests.benchmarks.search import peft_side
from tests.benchmarks.search.deeper import deeper_backbone, untrained
from tests.benchmarks.search.our_side import backbone, search, test_scores
from tests.benchmarks.search.setting import EIGHT, FEWER_ROWS, MANY_RATES, ROWS, grid, prepared, timed

TOLERANCE = 0.002  # the default of adapt.tolerance
Figures = dict[str, Any]


def one_task(rounds: int = 2) -> Figures:
    """24 candidates, searched from an empty trunk cache, against one PEFT run; the sides in turn."""
    task = prepared("subj")
    backbone()
    times: dict[str, list[float]] = {"search of 24": [], "peft fp32": [], "peft bfloat16": []}
    for _ in range(rounds):
        for dtype in ("float32", "bfloat16"):
            model = peft_side.load(task, dtype)
            seconds, run = timed(lambda model=model: peft_side.train(model, task))
            times["peft fp32" if dtype == "float32" else "peft bfloat16"].append(seconds)
            if dtype == "float32":
                theirs = run
                seconds, (found, cohort) = timed(lambda: search([task], grid()))
                times["search of 24"].append(seconds)
    winner = found[0][choose_winner(found[0], TOLERANCE)]

    def ratio(other: str) -> float:
        return median(a / b for a, b in zip(times["search of 24"], times[other], strict=True))

    return {
        "seconds": times,
        "ratio": ratio("peft fp32"),
        "ratio to peft in bfloat16": ratio("peft bfloat16"),
        "winner": winner.candidate.name,
        "test": {"winner": test_scores(task, [winner])[0], "peft": theirs.test(task)},
        "padding": cohort.padding.fraction,
    }


def fully() -> Figures:
    """The winner of the search against the best of the same 24 trained to the end, on eight tasks.

    The 24 share batches, which changes nothing of what becomes of each (tests/training/adaptation/test_cohort.py).
    """
    rows = []
    for name in EIGHT:
        task = prepared(name, FEWER_ROWS)
        seconds, (found, _) = timed(lambda task=task: search([task], grid()))
        winner = found[0][choose_winner(found[0], TOLERANCE)]
        seconds_whole, (whole, _) = timed(lambda task=task: search([task], grid(), halving=0))
        tests = test_scores(task, whole[0])
        (of_winner,) = test_scores(task, [winner])
        rows.append(
            {
                "task": name,
                "winner": winner.candidate.name,
                "dev": {"winner": winner.score, "best": max(one.score for one in whole[0])},
                "winner test": of_winner,
                "best on dev, test": tests[ranked(whole[0])[0]],
                "seconds": {"search": seconds, "all to the end": seconds_whole},
            }
        )
    return {
        "rows of each task": FEWER_ROWS,
        "tasks": rows,
        "points": 100 * mean(row["winner test"] - row["best on dev, test"] for row in rows),
    }


def eight_tasks() -> Figures:
    """8 tasks × 24 candidates in one cohort against 8 PEFT runs, half of those before and half after."""
    tasks = [prepared(name, FEWER_ROWS) for name in EIGHT]
    backbone()
    models = [peft_side.load(task) for task in tasks]
    runs = list(zip(models, tasks, strict=True))
    before, first = timed(lambda: [peft_side.train(*run) for run in runs[:4]])
    ours, (found, cohort) = timed(lambda: search(tasks, grid()))
    after, second = timed(lambda: [peft_side.train(*run) for run in runs[4:]])
    winners = [trained[choose_winner(trained, TOLERANCE)] for trained in found]
    return {
        "rows of each task": FEWER_ROWS,
        "seconds": {"search of 8 x 24": ours, "8 peft runs": before + after},
        "ratio": ours / (before + after),
        "padding": cohort.padding.fraction,
        "test": {
            task.name: {
                "ours": test_scores(task, [winner])[0],
                "peft": run.test(task),
                "winner": winner.candidate.name,
            }
            for task, run, winner in zip(tasks, first + second, winners, strict=True)
        },
    }


def ensemble(rounds: int = 5) -> Figures:
    """Five members' answers on fresh rows, nothing cached, against one's; the sides in turn.

    The widest batches that suit the device on both sides, and 32 rows at a time, as a server would have them.
    """
    task = prepared("subj")
    figures: Figures = {}
    rates = (5e-3, 7e-3, 1e-2, 1.4e-2, 2e-2)
    for depth in (0, 3, 5):
        found, _ = search([task], grid((16,), (depth,), rates), epochs=1, halving=0)
        for name, rows in (("", 10**6), (", 32 rows at a time", 32)):
            figures[f"members from layer {depth}{name}"] = _five_against_one(backbone(), task, found[0], rows, rounds)
    return figures


def deeper(rounds: int = 3) -> Figures:
    """As `ensemble`, on a backbone of MiniLM's shape with more layers: random weights and prompts, which cost the
    same."""
    task, figures = prepared("subj"), {}
    for layers in (12, 24):
        with deeper_backbone(layers) as model:
            for depth in (layers - 1, layers - layers // 6):
                members = untrained(model, task, depth)
                ratio = _five_against_one(model, task, members, 10**6, rounds)
                figures[f"{layers} layers, members from layer {depth}"] = ratio
    return figures


def _five_against_one(model: Backbone, task: PreparedTask, five: list[Trained], rows: int, rounds: int) -> float:
    """The median over the rounds, in each of which another of the five is the one."""

    def seconds(members: list[Trained]) -> float:
        return timed(lambda: answer_together(model, task, "test", members, pooling="mean", rows_per_batch=rows))[0]

    return median(seconds(five) / seconds([five[turn % len(five)]]) for turn in range(rounds))


def memory() -> Figures:
    """Peak resident memory of a search of 24 and of a search of one, each in a process of its own."""
    peaks = {}
    for count in (1, 24):
        command = [sys.executable, "-m", "tests.benchmarks.search.peak", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[str(count)] = int(done.stdout.split()[-1])
    return {"peak bytes": peaks, "ratio": peaks["24"] / peaks["1"]}


def step() -> Figures:
    """A step with prompts in all layers against the bare frozen one, from `tests.benchmarks.step`."""
    found = [steps.measure(dtype, ragged=False, rounds=9) for dtype in ("float32", "bfloat16")]
    return {one["dtype"]: one["ours_over_bare"] for one in found}


def scale() -> Figures:
    """Seconds as candidates grow, at two epochs, and as rows grow, at one; one repetition."""
    candidates = {
        1: grid((16,), (3,), (2e-2,)),
        6: grid((16,), (0, 3, 5)),
        24: grid(),
        96: grid(rates=MANY_RATES),
    }
    by_candidates, by_rows = {}, {}
    task = prepared("clinc150", ROWS)
    for count, own in candidates.items():
        seconds, _ = timed(lambda own=own: search([task], own, epochs=2, room=96))
        by_candidates[str(count)] = {"seconds": seconds, "per candidate": seconds / count}
    for rows in (1000, 3000, 12000):
        task = prepared("clinc150", rows)
        seconds, _ = timed(lambda task=task: search([task], grid(), epochs=1))
        by_rows[str(rows)] = {"seconds": seconds, "per candidate and 1000 rows": seconds / 24 / rows * 1000}
    return {"candidates": by_candidates, "rows": by_rows}


def dtypes() -> Figures:
    """What was tried for the trunk's forward pass: fp32, bfloat16, int8 (dynamic quantisation)."""
    from tests.benchmarks.search.dtypes import compare

    return compare()


def nested() -> Figures:
    """One nested pretraining against one for each length."""
    from tests.benchmarks.search.nested import compare

    return compare()


PIECES: dict[str, Callable[[], Figures]] = {
    "step": step,
    "ensemble": ensemble,
    "deeper": deeper,
    "memory": memory,
    "dtypes": dtypes,
    "nested": nested,
    "one_task": one_task,
    "fully": fully,
    "eight_tasks": eight_tasks,
    "scale": scale,
}
"""Name → measurement, the short ones first."""
