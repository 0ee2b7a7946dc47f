"""How fast champions are served when the traffic mixes 1, 16 or 64 tasks, and against PEFT changing adapters.

`python -m tests.benchmarks.serve` prints one JSON object; `--out FILE` writes it too. Nothing is asserted. MiniLM, P=16
places, 64 champions of random numbers, texts of 6 to 20 words, loopback only, about three minutes.

over HTTP: 32 callers, each with one request of one row on its way, against `deepprompt serve` with one replica on the
same machine as the callers. The mixtures take turns in rounds, so that a slow moment of the machine hits all; medians
over rounds.

in process: batches of 64 rows of 64 tasks, tokenised beforehand on both sides. Ours is one forward pass. PEFT's prefix
tuning has one active adapter at a time, so its rows go task by task: with all 64 adapters in memory and switched, and
with the adapter loaded from disk when it is wanted, the way to serve more of them than fit.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone import describe, load_backbone, resolve_dtype
from pipeline.registry import Predictor, PromptRegistry, load_artifact
from tests.benchmarks.served import LABELS, PLACES, TEXTS, Reply, ask, champions, free_port, told
from workflows.serve.settings import Settings
from workflows.serve.start import serving

TASKS, MIXTURES, CALLERS = 64, (1, 16, 64), 32
ROUNDS, SECONDS, WARM = 4, 8.0, 4.0


def over_http(registry: PromptRegistry, folder: Path) -> dict[str, Any]:
    """Requests per second and latencies of each mixture."""
    names = [f"task-{n}" for n in range(TASKS)]
    rounds: dict[int, list[dict[str, float]]] = {mixed: [] for mixed in MIXTURES}
    settings = Settings(registry.uri, registry.prefix, poll=5.0)
    with serving(settings, port=free_port(), log_file=folder / "ray.log") as running:
        for turn in range(ROUNDS + 1):
            for mixed in MIXTURES:
                seconds = SECONDS if turn else WARM
                end = time.perf_counter() + seconds
                replies = asyncio.run(
                    ask(running.url, names[:mixed], CALLERS, lambda end=end: time.perf_counter() > end)
                )
                if turn:
                    rounds[mixed].append(_figures(replies, seconds))
    found: dict[str, Any] = {
        str(mixed): {key: round(statistics.median(one[key] for one in some), 1) for key in some[0]}
        for mixed, some in rounds.items()
    }
    ratios = [b["per_second"] / a["per_second"] for a, b in zip(rounds[1], rounds[64], strict=True)]
    return {"tasks_mixed": found, "64_against_1": round(statistics.median(ratios), 3), "callers": CALLERS}


def _figures(replies: list[Reply], seconds: float) -> dict[str, float]:
    taken = sorted(reply.seconds for reply in replies)
    cuts = statistics.quantiles(taken, n=100)
    failed = sum(reply.status != 200 for reply in replies)
    return {
        "per_second": (len(replies) - failed) / seconds,
        "p50_ms": 1000 * cuts[49],
        "p99_ms": 1000 * cuts[98],
        "failed": failed,
    }


def in_process(folder: Path, dtype: str) -> dict[str, Any]:
    """Rows per second of ours and of PEFT's two ways, each on the same 64 rows of 64 tasks."""
    backbone = load_backbone("minilm", dtype=dtype)
    artifacts = {f"task-{n}": load_artifact(folder / f"task-{n}") for n in range(TASKS)}
    predictor = Predictor(backbone, artifacts, TASKS)
    mixed = predictor.read([{"task": f"task-{n}", "text": TEXTS[n % len(TEXTS)]} for n in range(TASKS)])
    alone = predictor.read([{"task": "task-0", "text": TEXTS[n % len(TEXTS)]} for n in range(TASKS)])
    model, loaded = _peft(folder / "peft", dtype)
    inputs = [backbone.tokenizer(TEXTS[n % len(TEXTS)], return_tensors="pt") for n in range(TASKS)]

    @torch.no_grad()
    def switched() -> None:
        for n in range(TASKS):
            model.set_adapter(f"task-{n}")
            model(**inputs[n]).logits.softmax(-1)

    @torch.no_grad()
    def from_disk() -> None:
        for n in range(TASKS):
            loaded.load_adapter(str(folder / "peft" / f"task-{n}"), adapter_name=f"now-{n}")
            loaded.set_adapter(f"now-{n}")
            loaded(**inputs[n]).logits.softmax(-1)
            loaded.delete_adapter(f"now-{n}")

    ways: dict[str, Callable[[], Any]] = {
        "ours_64_tasks": lambda: predictor.answer(mixed),
        "ours_1_task": lambda: predictor.answer(alone),
        "peft_switched": switched,
        "peft_loaded": from_disk,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(6):
        for name, way in ways.items():
            began = time.perf_counter()
            for _ in range(1 if name.startswith("peft") else 4):
                way()
            if turn:  # the first warms up
                taken[name].append((time.perf_counter() - began) / (1 if name.startswith("peft") else 4))

    def times(slow: str, fast: str) -> float:
        return round(statistics.median(a / b for a, b in zip(taken[slow], taken[fast], strict=True)), 2)

    return {
        "rows_per_second": {name: round(TASKS / statistics.median(some), 1) for name, some in taken.items()},
        "64_tasks_against_1": times("ours_1_task", "ours_64_tasks"),
        "times_peft_switched": times("peft_switched", "ours_64_tasks"),
        "times_peft_loaded": times("peft_loaded", "ours_64_tasks"),
    }


def _peft(folder: Path, dtype: str) -> tuple[Any, Any]:
    """A model with 64 adapters in memory, and one that begins with a single one; all adapters saved to `folder`."""
    from peft import PrefixTuningConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore")

    def config() -> Any:
        return PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=PLACES, inference_mode=True)

    def bare() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            describe("minilm").folder, num_labels=len(LABELS), dtype=getattr(torch, dtype)
        )

    model = get_peft_model(bare(), config(), adapter_name="task-0").eval()
    for n in range(1, TASKS):
        model.add_adapter(f"task-{n}", config())
    model.save_pretrained(str(folder))
    (folder / "task-0").mkdir(exist_ok=True)
    for file in folder.glob("adapter_*"):  # PEFT saves the others in folders of their own
        file.rename(folder / "task-0" / file.name)
    return model, get_peft_model(bare(), config(), adapter_name="first").eval()


def served(folder: Path) -> dict[str, Any]:
    """Both ways of serving, with the same champions."""
    dtype = resolve_dtype("auto")
    registry, _ = champions(folder, dtype, TASKS)
    sizes = {"dtype": dtype, "tasks": TASKS, "places": PLACES}
    both = {"in_process": in_process(folder, dtype), "over_http": over_http(registry, folder)}
    return {"benchmark": "serve", **sizes, **both}


if __name__ == "__main__":
    told(__doc__, served)
