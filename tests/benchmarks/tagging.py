"""`python -m tests.benchmarks.tagging`: how far prompts stay behind fine-tuning where words are tagged.

Per task and seed: fine-tuning of the whole backbone (the best of its rates on dev), a search as sentences take it
(200 steps, one learning rate for prompt and head), and one as words take it (`workflows.config.usual`). All choices
are made on dev; what they chose is scored on test, once. Every piece is written as soon as it is there, and a second
call measures what is missing (`--fresh`: everything). Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, pstdev
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pipeline.backbone import describe
from pipeline.tasks import Batch, PreparedTask, collate, length_batches
from pipeline.training.candidates import Candidate
from pipeline.training.cohort import Cohort, CohortSettings
from pipeline.training.evaluate import SplitRows
from pipeline.training.loop import Schedule
from pipeline.training.search import Search, SearchSettings
from pipeline.training.select import choose_winner
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.benchmarks.search.our_side import TRUNK_BYTES, backbone, test_scores
from tests.benchmarks.search.setting import DEPTHS, FEWER_ROWS, prepared, timed
from workflows.config.usual import LOOKS, SENTENCES, WORDS, Usual

RESULTS = Path(__file__).parent / "results" / "tagging.json"
TASKS = ("restaurant8k_slots", "snips_slots", "wikigold")
SEEDS = (0, 1, 2)
BATCH, EPOCHS, RATES = 16, 12, (3e-4,)
"""Rows per step on all sides; of fine-tuning the passes over the rows and its rates."""
Figures = dict[str, Any]


def search(task: PreparedTask, usual: Usual, seed: int, depths: tuple[int, ...]) -> Figures:
    """A search over what `usual` names at some depths, halving by four, as an `adapt` section of a config has it."""
    grid = [
        Candidate("scratch", places, depth, rate, seed)
        for places in usual.lengths
        for depth in depths
        for rate in usual.learning_rates
    ]
    how = SearchSettings(
        usual.steps, BATCH, 0.1, usual.steps // LOOKS, patience=4, seed=seed, halving=4, head_share=usual.head_share
    )
    with TemporaryDirectory() as folder:
        trunks = Trunks(backbone(), Path(folder) / "trunk", TRUNK_BYTES)
        one = Search(task, grid, Start(None, {}, "vocabulary"), how)
        cohort = Cohort(backbone(), [one], CohortSettings("mean", checkpoint_every=0), LocalWorld(Path(folder)), trunks)
        (found,) = cohort.run()
    winner = found[choose_winner(found, 0.002)]
    (test,) = test_scores(task, [winner])
    return {"dev": winner.score, "test": test, "winner": winner.candidate.name, "step": winner.step}


def fine_tuning(task: PreparedTask, seed: int) -> Figures:
    """Fine-tuning at each rate; the best state on dev of the best of them, scored on test."""
    runs = {rate: _fine_tuned(task, rate, seed) for rate in RATES}
    rate = max(runs, key=lambda one: runs[one][0])
    dev, model = runs[rate]
    return {"dev": dev, "test": model.score(task, "test"), "rate": rate}


class Tagger(nn.Module):
    """The whole backbone and a linear head on each word's first piece, in float32 with bfloat16 products."""

    def __init__(self, labels: int, seed: int) -> None:
        from transformers import AutoModel

        super().__init__()
        torch.manual_seed(seed)
        self.body = AutoModel.from_pretrained(describe("minilm").folder, add_pooling_layer=False)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(self.body.config.hidden_size, labels)

    def forward(self, batch: Batch) -> Tensor:
        """Logits of the batch's answers, [A, C]."""
        mask = batch.attention_mask.long()
        with torch.autocast("cpu", torch.bfloat16):
            out = self.body(input_ids=batch.input_ids, attention_mask=mask, token_type_ids=batch.token_type_ids)
        return self.head(self.drop(out.last_hidden_state.float()))[batch.answer]

    @torch.no_grad()
    def score(self, task: PreparedTask, split: str) -> float:
        """The task's metric on a split."""
        self.eval()
        found: dict[int, Tensor] = {}
        counts = task.answers_per_row(split)
        for rows in length_batches(task.encoded[split].lengths, 64):
            answers = self(_batch(task, split, rows)).softmax(-1).split(counts[rows].tolist())
            found |= dict(zip(rows.tolist(), answers, strict=True))
        return SplitRows(task, split).judge(torch.cat([found[i] for i in range(len(found))])).score


def _fine_tuned(task: PreparedTask, rate: float, seed: int) -> tuple[float, Tagger]:
    """The best dev score over the epochs, and the model in that state."""
    model, encoded = Tagger(len(task.labels), seed), task.encoded["train"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    per_epoch = -(-len(encoded) // BATCH)
    schedule, best, kept = Schedule(EPOCHS * per_epoch, 0.1), -1.0, model.state_dict()
    for epoch in range(EPOCHS):
        model.train()
        for step, rows in enumerate(length_batches(encoded.lengths, BATCH, seed=seed * 100_003 + epoch)):
            optimizer.param_groups[0]["lr"] = rate * schedule.factor(epoch * per_epoch + step)
            optimizer.zero_grad()
            batch = _batch(task, "train", rows)
            nn.functional.cross_entropy(model(batch), batch.labels[batch.answer]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        found = model.score(task, "dev")
        if found > best:
            best, kept = found, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return best, model


def _batch(task: PreparedTask, split: str, rows: Any) -> Batch:
    taken = task.encoded[split].take(rows)
    nobody = [0] * len(taken)
    return collate(taken, prompt=nobody, head=nobody, pad_token_id=task.pad_token_id)


SIDES = {
    "fine-tuning": fine_tuning,
    "prompts, as for sentences": lambda task, seed: search(task, SENTENCES, seed, DEPTHS),
    "prompts, as for words": lambda task, seed: search(task, WORDS, seed, DEPTHS),
    "prompts, as for words, one rate": lambda task, seed: search(task, replace(WORDS, head_share=1.0), seed, (0,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--fresh", action="store_true", help="measure what is in the results file again")
    chosen = parser.parse_args()
    console = Console(stderr=True)
    result: Figures = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.is_file() else {}
    result |= {"benchmark": "tagging", "rows": FEWER_ROWS, "torch": torch.__version__}
    figures = result.setdefault("tasks", {})
    for seed in chosen.seeds:
        for name in chosen.tasks:
            for side in chosen.sides:
                seeds = figures.setdefault(name, {}).setdefault(side, {})
                if str(seed) in seeds and not chosen.fresh:
                    continue
                seconds, found = timed(partial(SIDES[side], prepared(name, FEWER_ROWS), seed))
                seeds[str(seed)] = {**found, "seconds": round(seconds)}
                console.print(f"{name}, {side}, seed {seed}: {seeds[str(seed)]}")
                chosen.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print(_table(figures))


def _table(figures: Figures) -> Table:
    table = Table("task", *SIDES, title="span F1 or token accuracy on test: mean and deviation over the seeds")
    for name, sides in figures.items():
        shown = [[one["test"] for one in sides.get(side, {}).values()] for side in SIDES]
        table.add_row(name, *(f"{mean(own):.3f} ±{pstdev(own):.3f}" if own else "-" for own in shown))
    return table


if __name__ == "__main__":
    main()
