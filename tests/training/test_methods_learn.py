"""On real weights every method learns a real task: clearly better than always naming the most frequent class."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from pipeline.prompts import Recipe
from pipeline.tasks import DataSource, TaskSpec, load_task, prepare_task
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.training.test_real_kinds import draw

METHODS = {
    "deep": (Recipe(), 8),
    "prefix": (Recipe("prefix", "mlp"), 8),
    "prompt_tuning": (Recipe("prompt_tuning", layout="after_first"), 8),
    "p_tuning": (Recipe("p_tuning", "bilstm+mlp", "{2} text {2}"), 4),
    "head": (Recipe("head"), 0),
}
RATE = 1e-2
"""For all of them: it means the same whatever network makes a prompt."""


@pytest.fixture(scope="module")
def snips(backbone, shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("snips")
    for split, rows in (("train", 2000), ("dev", 250), ("test", 10)):
        drawn = "\n".join(map(json.dumps, draw(shared_data, "snips_intent", split, rows)))
        (folder / f"{split}.jsonl").write_text(drawn, encoding="utf-8")
    spec = TaskSpec("snips", "classification", DataSource(path=str(folder), rows=140))
    task, model = load_task(spec, folder / "cache"), backbone("minilm")
    return prepare_task(task, model.tokenizer, context=64, cache_dir=folder / "cache")


def test_every_method_learns_in_one_cohort(snips, backbone, tmp_path):
    model = backbone("minilm")
    settings = SearchSettings(steps=24, rows=8, warmup=0.1, evaluate_every=24, patience=0, seed=0)
    searches = [
        Search(
            snips,
            [Candidate("scratch", places, 0 if places else 5, RATE, 0)],
            Start(None, {}, "vocabulary", r),
            settings,
        )
        for r, places in METHODS.values()
    ]
    cohort = Cohort(model, searches, CohortSettings("mean", checkpoint_every=0), LocalWorld(tmp_path), Trunks(model))
    found = {name: one.score for name, (one,) in zip(METHODS, cohort.run(), strict=True)}
    majority = max(Counter(snips.gold("dev")).values()) / len(snips.gold("dev"))
    assert majority < 0.3 and all(score > majority + 0.3 for score in found.values()), found
