"""How long a training step takes: ours, PEFT's prefix tuning, and the bare frozen backbone, in turn in one process.

`python -m tests.benchmarks.step` prints one JSON object; `--out FILE` writes it too. Nothing is asserted. B=32 rows,
T=64 tokens, P=16 places on MiniLM, one classification task; every row full, and again with rows of 16 to 64 tokens.

A step is forward, loss, backward and optimizer. The bare backbone's is forward and activation gradients down to the
embeddings, without prompts, head or optimizer: what no method with prompts in every layer can do without. Times are
medians over rounds, ratios medians of the ratios within a round, so that a slow moment of the machine hits both sides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone import describe, load_backbone
from pipeline.model import PromptedModel
from pipeline.prompts import PromptBank, normal
from pipeline.tasks import Batch, HeadBank, make_head
from pipeline.training.loop import Trainer
from pipeline.training.world import LocalWorld
from tests.benchmarks.device import DEVICE, machine, settle
from tests.benchmarks.telling import asking, tell

ROWS, TOKENS, PLACES, CLASSES = 32, 64, 16, 4
Step = Callable[[], None]


def make_batch(vocabulary: int, ragged: bool) -> Batch:
    """Random rows; all of `TOKENS` tokens, or of 16 to 64."""
    draw = torch.Generator().manual_seed(0)
    sizes = torch.randint(16, TOKENS + 1, (ROWS,), generator=draw) if ragged else torch.full((ROWS,), TOKENS)
    ids = torch.randint(1000, vocabulary, (ROWS, TOKENS), generator=draw)
    mask = torch.arange(TOKENS) < sizes[:, None]
    answer = torch.zeros(ROWS, TOKENS, dtype=torch.bool)
    answer[:, 0] = True
    labels = torch.full((ROWS, TOKENS), -100)
    labels[:, 0] = torch.randint(CLASSES, (ROWS,), generator=draw)
    zeros = torch.zeros(ROWS, dtype=torch.long)
    rows, weight = torch.arange(ROWS), torch.full((ROWS,), 1 / ROWS)
    return Batch(ids, mask, torch.zeros_like(ids), answer, labels, rows, zeros, zeros, rows, weight)


def our_step(batch: Batch, dtype: str) -> Step:
    """A step of `pipeline.training`."""
    backbone = load_backbone("minilm", dtype=dtype, device=DEVICE)
    info = backbone.info
    bank = PromptBank([normal((info.layers, 2, info.heads, PLACES, info.head_size), seed=0)], info.layers)
    heads = HeadBank([make_head("classification", "abcd", "mean")], info.width, [0])
    model = PromptedModel(backbone, bank.to(DEVICE), heads.to(DEVICE))
    trainer = Trainer(model, LocalWorld(Path()))
    trainer.enter(0, [0], learning_rate=1e-2)
    return lambda: void(trainer.update([batch], {0: 1.0}))


def bare_step(batch: Batch, dtype: str) -> Step:
    """Forward and activation gradients of the backbone as transformers has it, with its own attention."""
    from transformers import AutoModel

    folder = describe("minilm").folder
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype), add_pooling_layer=False)
    model = model.to(DEVICE).eval().requires_grad_(False)
    embeds = model.get_input_embeddings()(batch.input_ids).detach()

    def step() -> None:
        inputs = embeds.clone().requires_grad_()
        out = model(
            inputs_embeds=inputs, attention_mask=batch.attention_mask.long(), token_type_ids=batch.token_type_ids
        )
        out.last_hidden_state.float().mean().backward()

    return step


def peft_step(batch: Batch, dtype: str) -> Step:
    """PEFT's prefix tuning of the same length for sequence classification, with its default settings."""
    from peft import PrefixTuningConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    folder = describe("minilm").folder
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=CLASSES, dtype=getattr(torch, dtype))
    model = get_peft_model(model, PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=PLACES))
    model = model.to(DEVICE).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask.long(), "labels": batch.labels[:, 0]}

    def step() -> None:
        optimizer.zero_grad()
        model(**inputs, token_type_ids=batch.token_type_ids).loss.backward()
        optimizer.step()

    return step


def void(_: Any) -> None:
    """Steps are timed, not used."""


def measure(dtype: str, ragged: bool, rounds: int) -> dict[str, Any]:
    """Rounds of ours, PEFT's and the bare step, one after the other."""
    batch = make_batch(describe("minilm").vocabulary, ragged).to(DEVICE)
    steps = {"ours": our_step(batch, dtype), "peft_prefix": peft_step(batch, dtype), "bare": bare_step(batch, dtype)}
    for step in steps.values():
        step()
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            settle()
            began = time.perf_counter()
            step()
            settle()
            times[name].append(time.perf_counter() - began)

    def ratio(a: str, b: str) -> float:
        return round(statistics.median(x / y for x, y in zip(times[a], times[b], strict=True)), 3)

    return {
        "dtype": dtype,
        "rows_of_unequal_length": ragged,
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in times.items()},
        "peft_over_ours": ratio("peft_prefix", "ours"),
        "ours_over_bare": ratio("ours", "bare"),
    }


def main() -> None:
    parser = asking(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    result = {
        "benchmark": "step",
        "sizes": {"rows": ROWS, "tokens": TOKENS, "places": PLACES},
        "machine": machine(),
        "expected": {"float32 peft_over_ours": ">= 1.2", "ours_over_bare": "<= 1.05"},
        "results": [
            measure(dtype, ragged, chosen.rounds) for dtype in ("float32", "bfloat16") for ragged in (False, True)
        ],
    }
    tell(result, chosen.out)


if __name__ == "__main__":
    main()
