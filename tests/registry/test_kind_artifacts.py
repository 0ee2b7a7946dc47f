"""Artifacts of every task type: saved and loaded they answer as trained, mixed in one batch as alone."""

from __future__ import annotations

import json

import pytest
import torch
from kinds import LONG, ROWS, task_of

from pipeline.errors import InputError
from pipeline.prompts import COMBINATIONS
from pipeline.registry import Predictor, load_artifact
from pipeline.tasks import TASK_TYPES, prepare_task
from pipeline.training.candidates import Candidate, Trained
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.judging import SplitRows
from tests.registry.made import backbone_of, make_artifact

THRESHOLD = {"multilabel": 0.45, "qa": 0.2}


def made(folder, kind, family="bert", pooling="mean"):
    """The type's task prepared, and an artifact of two members for it."""
    backbone = backbone_of(family)
    task = task_of(folder, kind, overlap=8)
    prepared = prepare_task(task, backbone.tokenizer, context=backbone.info.context, cache_dir=folder / "cache")
    identity = {"metric": task.metric, "overlap": 8}
    artifact = make_artifact(
        folder / f"artifact-{kind}", backbone, name=kind, type=kind, labels=prepared.labels, combine="mean",
        lengths=(3, 5), seed=len(kind), threshold=THRESHOLD.get(kind), task=identity, pooling=pooling,
    )  # fmt: skip
    return prepared, load_artifact(folder / f"artifact-{kind}"), artifact


def asked(kind):
    """The rows without their answers."""
    return [{"task": kind, **{c: row[c] for c in TASK_TYPES[kind].inputs}} for row in ROWS[kind]]


def flat(value):
    """An answer's parts in order, whatever they are nested in."""
    if isinstance(value, dict):
        return [part for key in sorted(value) for part in [key, *flat(value[key])]]
    return [part for one in value for part in flat(one)] if isinstance(value, list) else [value]


def assert_alike(one, other):
    for a, b in zip(flat(one), flat(other), strict=True):
        assert a == (pytest.approx(b, abs=1e-4) if isinstance(b, float) else b)


POOLED = [*((kind, "mean") for kind in ROWS), ("pair", "pair"), ("pair_regression", "pair")]


@pytest.mark.parametrize(("kind", "pooling"), POOLED)
def test_a_predictor_answers_as_evaluation_does(kind, pooling, tmp_path):
    """The same rows, through the artifact on disk and through what training uses."""
    task, artifact, _ = made(tmp_path, kind, pooling=pooling)
    backbone = backbone_of("bert")
    trained = [
        Trained(Candidate("scratch", 1, 0, 1.0, 0), 0.0, 0.0, 1, (), member.prompt, member.weight, member.bias)
        for member in artifact.members
    ]
    p = COMBINATIONS["mean"](answer_together(backbone, task, "test", trained, pooling=pooling).probabilities)
    rows = SplitRows(task, "test")
    expected = rows.read(p, artifact.manifest.threshold)
    told = Predictor(backbone, {kind: artifact}).predict(asked(kind))
    key = {"multilabel": "labels", "regression": "score", "pair_regression": "score", "choice": "label", "qa": "answer"}
    field = key.get(kind, "tags" if kind in ("token", "srl") else "label")
    assert_alike([one[field] for one in told], expected)
    assert json.loads(json.dumps(told)) == told, "answers are plain JSON"
    if kind == "qa":
        assert all(
            one["answer"] == row["context"][one["start"] : one["end"]]
            for one, row in zip(told, ROWS["qa"], strict=True)
            if one["answer"]
        )


def test_all_types_mixed_answer_as_each_alone(tmp_path):
    artifacts = {kind: made(tmp_path, kind)[1] for kind in ROWS}
    rows = [asked(kind)[n] for n in range(4) for kind in ROWS]
    backbone = backbone_of("bert")
    mixed = Predictor(backbone, artifacts, rows_per_batch=11).predict(rows)
    for row, answer in zip(rows, mixed, strict=True):
        (alone,) = Predictor(backbone, {row["task"]: artifacts[row["task"]]}).predict([row])
        assert_alike(answer, alone)


def test_the_threshold_decides_what_is_said(tmp_path):
    backbone = backbone_of("bert")
    for kind, field, nothing in (("multilabel", "labels", []), ("qa", "answer", "")):
        _, artifact, _ = made(tmp_path, kind)
        strict, lenient = (
            type(artifact)(artifact.manifest.model_copy(update={"threshold": value}), artifact.members)
            for value in (1.1, 0.0)
        )
        row = asked(kind)[0]
        assert Predictor(backbone, {kind: strict}).predict([row])[0][field] == nothing
        assert Predictor(backbone, {kind: lenient}).predict([row])[0][field] != nothing


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("choice", {"choices": None}, "no field 'choices'"),
        ("choice", {"choices": ["one"]}, "leaves no choice"),
        ("srl", {"predicate": 9}, "the predicate is not a word of the sentence; found 9"),
        ("srl", {"predicate": "verb"}, "'predicate' is not a place"),
        ("qa", {"context": " "}, "'context' is empty"),
        ("qa", {"question": None}, "no field 'question'; found context; expected question, context"),
    ],
)
def test_unsound_rows_are_told(kind, change, said, tmp_path):
    _, artifact, _ = made(tmp_path, kind)
    with pytest.raises(InputError) as told:
        row = {key: value for key, value in {**asked(kind)[0], **change}.items() if value is not None}
        Predictor(backbone_of("bert"), {kind: artifact}).predict([row])
    assert told.value.where == "row 1" and said in told.value.message


def test_labels_that_do_not_fit_the_type_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 labels do not fit the 2 outputs of 'qa'"):
        make_artifact(tmp_path / "a", backbone_of("bert"), name="qa", type="qa", labels=("a", "b", "c"))


def test_a_long_context_is_answered_from_any_of_its_windows(tmp_path):
    _, artifact, _ = made(tmp_path, "qa")
    (told,) = Predictor(backbone_of("bert"), {"qa": artifact}).predict([{"question": "where", "context": LONG * 3}])
    assert told["answer"] == LONG * 3 or told["answer"] in LONG * 3
    assert torch.tensor([told["score"], told["no_answer"]]).isfinite().all()
