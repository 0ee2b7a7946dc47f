"""Real rows, real weights: on a small slice a search finds what beats the trivial answer.

Budgets are those of a test. In them the roles of a sentence are not learnt beyond what marking the predicate alone
would score (span F1 0.45 on this slice), and arc_easy's questions not beyond chance: those need more steps than these.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.tasks import DataSource, TaskSpec, load_task, prepare_task
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.choice.select import choose_winner
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld

TEST_ROWS = 100


def draw(data, name, split, rows):
    """Some rows of a real data set, always the same."""
    lines = (data / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(lines[n]) for n in np.random.default_rng(0).permutation(len(lines))[:rows]]


def label_sets(rows):
    """The slot types of a sentence."""
    return [
        {"text": " ".join(row["tokens"]), "labels": sorted({tag[2:] for tag in row["tags"] if tag != "O"})}
        for row in rows
    ]


def sentiment(rows):
    """How pleased a review is."""
    return [{"text": row["text"], "score": float(row["label"] == "positive")} for row in rows]


def sentences(rows):
    """Which of three sentences a question is about."""
    made = []
    for n, row in enumerate(rows):
        others = [other["context"] for other in rows[n + 1 :] + rows[:n] if other["context"] != row["context"]][:2]
        others.insert(n % 3, row["context"])
        made.append({"question": row["question"], "choices": others, "label": n % 3})
    return made


SLICES = {
    # type: data, training rows, how rows are made, first layers, places, rate, steps
    "multilabel": ("snips_slots", 150, label_sets, (5, 4), 4, 3e-2, 40),
    "regression": ("cr", 200, sentiment, (5, 4), 4, 2e-2, 40),
    "choice": ("qamr", 150, sentences, (5, 4), 4, 2e-2, 30),
    "srl": ("ewt_srl", 300, list, (1,), 8, 6e-2, 120),
    "qa": ("qamr", 400, list, (3,), 8, 6e-2, 140),
}


def trivial(task):
    """What one scores who looks at no row: the most common label for all, a guess, no span, the whole context."""
    rows = SplitRows(task, "test")
    if task.type == "multilabel":
        common = max(task.labels, key=lambda label: sum(label in row for row in task.gold("train")))
        return task.kind.score(task.metric, rows.gold, [[common]] * TEST_ROWS)[task.metric]
    if task.type == "qa":
        return task.kind.score(task.metric, rows.gold, [row["context"] for row in rows.shown])[task.metric]
    return {"regression": 0.0, "choice": 1 / 3, "srl": 0.0}[task.type]


@pytest.mark.parametrize("kind", SLICES)
def test_a_search_learns_more_than_the_trivial_answer(kind, shared_data, backbone, tmp_path):
    name, train, make, firsts, places, rate, steps = SLICES[kind]
    for split, rows in (("train", train), ("dev", 60), ("test", TEST_ROWS)):
        made = "\n".join(map(json.dumps, make(draw(shared_data, name, split, rows))))
        (tmp_path / f"{split}.jsonl").write_text(made, encoding="utf-8")
    spec = TaskSpec(kind, kind, DataSource(path=str(tmp_path)), unseen_labels="count", max_tokens=64)
    model = backbone("minilm")
    loaded = load_task(spec, tmp_path / "cache")
    task = prepare_task(loaded, model.tokenizer, context=model.info.context, cache_dir=tmp_path / "cache")
    candidates = [Candidate("scratch", places, first, rate, 0) for first in firsts]
    search = Search(task, candidates, Start(None, {}, "vocabulary"), SearchSettings(steps, 8, 0.1, steps, 0, 0))
    trunks = Trunks(model, tmp_path / "trunk", 10**9)
    trained = Cohort(model, [search], CohortSettings("mean", checkpoint_every=0), LocalWorld(tmp_path), trunks).run()[0]
    winner = trained[choose_winner(trained, 0.0)]

    def judged(split, threshold=None):
        p = answer_together(model, task, split, [winner], pooling="mean").probabilities[0]
        return SplitRows(task, split).judge(p, threshold), p

    threshold = judged("dev")[0].threshold if task.kind.thresholded else None
    found, p = judged("test", threshold)
    print(f"{kind}: test {found.figures}, threshold {threshold}, trivial {trivial(task):.3f}")
    # two standard errors of a share of the test rows
    assert found.score > trivial(task) + (0.1 if kind in ("multilabel", "regression", "choice", "srl") else 0.0)
    if kind == "qa":  # a sentence has hundreds of spans
        assert found.figures["exact"] >= 0.05
    if kind == "srl":  # the model sees which word is the predicate
        tagged = SplitRows(task, "test").read(p)
        at = [row["predicate"] for row in loaded.splits["test"]]
        assert np.mean([tags[place] == "B-V" for tags, place in zip(tagged, at, strict=True)]) > 0.5
