"""A whole run of every method: plan, pretraining, search, ensemble, test, artifacts, report, prediction."""

from __future__ import annotations

import json

import pytest

from pipeline.registry import Predictor, load_artifact, open_backbone
from pipeline.tasks import PreparedTask
from pipeline.training.pretraining.similarity import nearest_source
from pipeline.training.results import load_shared
from tests.workflows.small import fingerprints, small_config
from workflows.config.load import load_config
from workflows.plan import make_plan
from workflows.run import run
from workflows.stages.graph import build_graph

PROMPT, PRETRAIN = "prompt: {length: 4, init: normal}", "pretrain: {"
RUNS = {
    "prefix": {PROMPT: "prompt: {method: prefix, length: 4}"},
    "prompt tuning": {PROMPT: "prompt: {method: prompt_tuning, length: 4, place: after_first, init: labels}"},
    "p-tuning": {PROMPT: 'prompt: {method: p_tuning, length: 4, template: "{2} text {1} label"}'},
    "factors": {PRETRAIN: "pretrain: {kind: factors, distil: true, "},
    "retrieval": {
        PROMPT: "prompt: {method: prompt_tuning, length: 4}",
        PRETRAIN: "pretrain: {kind: retrieval, ",
        "ensemble: {size: 2}": "ensemble: {size: 2, distil: true}",
    },
    "head": {
        PROMPT: "prompt: {method: head}",
        "{demo: intent, rows: 30}": "{demo: intent, seed: 0, rows: 30}",  # the demo task itself, with all rows of dev
        "pretrain: {tasks: [intent, slots], steps: 6, batch_rows: 8, checkpoint_every: 2}": "pretrain: null",
    },
}


@pytest.fixture(scope="module", params=RUNS)
def done(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = load_config(small_config(folder, **RUNS[request.param]))
    plan = make_plan(config)
    return request.param, config, plan, run(config)


def test_every_task_is_scored_and_its_artifact_says_how_it_was_made(done):
    name, config, plan, summary = done
    assert summary.exit_code == 0 and len(summary.rows) == 3 and plan.seconds > 0
    for row in summary.rows:
        manifest = load_artifact(config.run_folder / f"evaluate/{row.task}/artifact").manifest
        assert (manifest.method, manifest.layout) == (config.prompt.method, config.prompt.layout)
        assert (manifest.embedding is None) == config.prompt.deep
        assert config.prompt.method in plan.method and (config.prompt.layout or "") in plan.method
        assert name != "head" or manifest.lengths == (0,)
        trained = json.loads((config.run_folder / f"adapt/{row.task}/trained.json").read_text())
        assert len(trained) == plan.tasks[[t.name for t in plan.tasks].index(row.task)].candidates
    assert (config.run_folder / "report.html").read_text().count("<section") > 5


def test_prediction_answers_as_the_test_did(done):
    """What the registry keeps gives the logits that were scored, through text and template again."""
    _, config, _, summary = done
    graph = build_graph(config)
    for row in summary.rows:
        folder = config.run_folder / f"evaluate/{row.task}"
        artifact = load_artifact(folder / "artifact")
        predictor = Predictor(open_backbone(artifact.manifest.backbone), {row.task: artifact})
        test = graph.tasks[row.task].splits["test"]
        answers = predictor.predict(test.to_list())
        gold = PreparedTask.load(config.run_folder / f"prepare/{row.task}").gold("test")
        scores = json.loads((folder / "scores.json").read_text())["winner"]["test"]
        if row.task == "slots":
            assert [len(one["tags"]) for one in answers] == [len(tags) for tags in gold]
        else:
            right = sum(one["label"] == label for one, label in zip(answers, gold, strict=True))
            assert right / len(gold) == pytest.approx(scores["accuracy"], abs=1e-6)


def test_the_same_config_gives_the_same_artifacts(done, tmp_path):
    name, config, _, _ = done
    if name != "factors":  # the one with most to it: factors, teachers, two turns
        return
    other = load_config(small_config(tmp_path, **RUNS[name]))
    run(other)
    assert fingerprints(other.run_folder) == fingerprints(config.run_folder)


def test_retrieval_shows_its_matrix_and_names_no_task_its_own_source(done):
    name, config, _, _ = done
    shared = load_shared(config.run_folder / "pretrain") if config.pretrain is not None else None
    if name != "retrieval":
        assert shared is None or not shared.similarity
        return
    assert set(shared.own) == {"intent", "slots", "same_issue"}
    report = (config.run_folder / "report.html").read_text()
    assert "Which task is like which" in report
    assert f"{shared.similarity['same_issue']['intent']:.3f}" in report
    parent = load_artifact(config.run_folder / "pretrain/artifact")
    assert len(parent.members) == 2  # the two that others may start from
    for folder in config.run_folder.glob("evaluate/*/artifact"):
        manifest = load_artifact(folder).manifest
        chosen = nearest_source(manifest.name, shared.similarity, config.pretrain_tasks)
        started = any(one.kind == "shared" for one in manifest.parents)
        assert manifest.training.get("retrieved") == (chosen if started else None)
