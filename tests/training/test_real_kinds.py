"""Real rows, real weights: on a small slice the search finds what beats the trivial answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.tasks import DataSource, TaskSpec, load_task, prepare_task
from pipeline.training.answering import answer_together
from pipeline.training.candidates import Candidate
from pipeline.training.cohort import Cohort, CohortSettings
from pipeline.training.evaluate import SplitRows
from pipeline.training.search import Search, SearchSettings
from pipeline.training.select import choose_winner
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld


def label_sets(row):
    """The slot types of a sentence."""
    return {"text": " ".join(row["tokens"]), "labels": sorted({tag[2:] for tag in row["tags"] if tag != "O"})}


def degrees(row):
    """Entailment as a number."""
    return {**row, "score": {"contradiction": 0.0, "neutral": 0.5, "entailment": 1.0}[row["label"]]}


SLICES = {
    # type: data, rows of train and of dev and test, how rows are made, steps, rate, what the trivial answer scores
    "multilabel": ("snips_slots", 200, 60, label_sets, 80, 3e-2, None),
    "pair_regression": ("snli", 400, 100, degrees, 80, 1e-2, 0.05),
    "choice": ("arc_easy", 300, 100, dict, 80, 1e-2, 0.29),
    "srl": ("ewt_srl", 200, 40, dict, 80, 3e-2, 0.05),
    "qa": ("qamr", 240, 60, dict, 80, 3e-2, 0.12),
}


def slice_of(data, kind, folder):
    """Some rows of a real data set, as the type takes them."""
    name, train, held, make, *_ = SLICES[kind]
    folder.mkdir()
    for split, rows in (("train", train), ("dev", held), ("test", held)):
        lines = (data / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        chosen = np.random.default_rng(0).permutation(len(lines))[:rows]
        made = [json.dumps(make(json.loads(lines[n]))) for n in chosen]
        (folder / f"{split}.jsonl").write_text("\n".join(made), encoding="utf-8")
    return TaskSpec(kind, kind, DataSource(path=str(folder)), unseen_labels="count", max_tokens=64)


@pytest.mark.parametrize("kind", SLICES)
def test_a_search_learns_more_than_the_trivial_answer(kind, shared_data, backbone, tmp_path):
    *_, steps, rate, trivial = SLICES[kind]
    model = backbone("minilm")
    task = prepare_task(
        load_task(slice_of(shared_data, kind, tmp_path / "data"), tmp_path / "cache"),
        model.tokenizer,
        context=model.info.context,
        cache_dir=tmp_path / "cache",
    )
    settings = SearchSettings(steps, 8, 0.1, steps // 2, 0, 0)
    candidates = [Candidate("scratch", 4, model.info.layers - 2, rate, 0), Candidate("scratch", 4, 4, rate / 3, 0)]
    search = Search(task, candidates, Start(None, {}, "vocabulary"), settings)
    trunks = Trunks(model, tmp_path / "trunk", 10**9)
    trained = Cohort(model, [search], CohortSettings("mean", checkpoint_every=0), LocalWorld(tmp_path), trunks).run()[0]
    winner = trained[choose_winner(trained, 0.0)]
    threshold = None
    if task.kind.thresholded:
        on_dev = answer_together(model, task, "dev", [winner], pooling="mean").probabilities[0]
        threshold = SplitRows(task, "dev").judge(on_dev).threshold
    on_test = answer_together(model, task, "test", [winner], pooling="mean").probabilities[0]
    found = SplitRows(task, "test").judge(on_test, threshold)
    if trivial is None:  # everybody gets the most common label
        gold = task.gold("test")
        common = max(task.labels, key=lambda label: sum(label in row for row in task.gold("train")))
        trivial = task.kind.score(task.metric, gold, [[common]] * len(gold))[task.metric]
    print(f"{kind}: {found.figures} at threshold {found.threshold}, trivial {trivial:.3f}")
    assert found.score > trivial
