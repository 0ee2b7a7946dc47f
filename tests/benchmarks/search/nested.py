"""Whether one nested pretraining serves every length: its prefixes against prompts pretrained at their lengths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.training.candidates import Candidate, Trained
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.pretraining.shared import PretrainSettings, SharedPrompt
from pipeline.training.world import LocalWorld
from tests.benchmarks.search.our_side import backbone, test_scores
from tests.benchmarks.search.setting import prepared

TASKS = ("subj", "snips_intent", "sms_spam", "pros_cons")
LENGTHS = (8, 16, 32)
SETTINGS = PretrainSettings(
    steps=250, rows=32, learning_rate=2e-2, warmup=0.1, exponent=0.5, cap=None, seed=0, length=32, init="vocabulary",
    first_layer=0, pooling="mean", nested=True, checkpoint_every=0,
)  # fmt: skip


def compare() -> dict[str, Any]:
    """Per length the mean test score over the tasks, with the heads that pretraining left; and the gap in points."""
    nested = _pretrain(SETTINGS)
    rows = {}
    for length in LENGTHS:
        own = _pretrain(replace(SETTINGS, length=length, nested=False))
        rows[str(length)] = {"nested, cut": _score(nested, length), "pretrained at it": _score(own, length)}
    gaps = {length: 100 * (row["nested, cut"] - row["pretrained at it"]) for length, row in rows.items()}
    return {"test": rows, "points": gaps, "steps": SETTINGS.steps, "tasks": list(TASKS)}


def _pretrain(settings: PretrainSettings) -> SharedPrompt:
    with TemporaryDirectory() as folder:
        tasks = {name: prepared(name) for name in TASKS}
        return Pretraining(backbone(), tasks, settings, LocalWorld(Path(folder))).run()


def _score(shared: SharedPrompt, length: int) -> float:
    candidate = Candidate("shared", length, 0, SETTINGS.learning_rate, 0)
    scores = []
    for name in TASKS:
        one = Trained(candidate, 0.0, 0.0, 0, (), shared.prompt[:, :, :, :length], *shared.heads[name])
        scores += test_scores(prepared(name), [one])
    return mean(scores)
