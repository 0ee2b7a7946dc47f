"""The ground on which both sides are measured: real tasks, capped, encoded once for both."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pipeline.backbone import describe, load_tokenizer
from pipeline.tasks import DataSource, PreparedTask, TaskSpec, load_task, prepare_task
from pipeline.training.candidates import Candidate
from tests.benchmarks.device import settle

DATASETS = Path(__file__).resolve().parents[4] / "shared" / "datasets"
EIGHT = ("subj", "mr", "cr", "snips_intent", "sms_spam", "pros_cons", "clinc150", "snli")
ROWS, DEV, TEST, EPOCHS, BATCH = 1000, 300, 1000, 4, 32
FEWER_ROWS = 500
"""Of each of the eight tasks, so that the sixteen runs take minutes."""
LENGTHS, DEPTHS, RATES = (8, 16, 32, 64), (0, 3, 5), (5e-3, 2e-2)
MANY_RATES = (5e-3, 2e-2, 3e-3, 1e-2, 7e-3, 1.4e-2, 3e-2, 4e-2)


def grid(
    lengths: tuple[int, ...] = LENGTHS, depths: tuple[int, ...] = DEPTHS, rates: tuple[float, ...] = RATES
) -> list[Candidate]:
    """Lengths × depths × rates, from scratch, one seed."""
    return [Candidate("scratch", p, k, rate, 0) for p in lengths for k in depths for rate in rates]


@cache
def prepared(name: str, rows: int = ROWS) -> PreparedTask:
    """A real task with `rows` training rows, `DEV` of dev and `TEST` of test, all drawn with a seed.

    Raises:
        FileNotFoundError: the datasets are not beside the checkout.
    """
    folder = Path(mkdtemp(prefix=f"search-{name}-"))
    for split, most in (("train", None), ("dev", DEV), ("test", TEST)):
        lines = (DATASETS / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        random.Random(0).shuffle(lines)
        (folder / f"{split}.jsonl").write_text("\n".join(lines[:most]) + "\n", encoding="utf-8")
    columns = json.loads((folder / "dev.jsonl").read_text(encoding="utf-8").splitlines()[0])
    kind = "token" if "tags" in columns else "pair" if "text_a" in columns else "classification"
    source = DataSource(path=str(folder), rows=rows)
    task = load_task(TaskSpec(name, kind, source, max_tokens=128, unseen_labels="count"), folder / "cache")
    info = describe("minilm")
    return prepare_task(task, load_tokenizer(info), context=info.context, cache_dir=folder / "cache")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what the work returned."""
    settle()
    began = time.perf_counter()
    value = work()
    settle()
    return time.perf_counter() - began, value
