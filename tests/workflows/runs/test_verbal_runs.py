"""Whole runs answered by label words: hard prompts, where nothing is trained, and soft tokens in a template."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import InputError
from pipeline.registry import Predictor, load_artifact, open_backbone
from pipeline.tasks import PreparedTask
from tests.families import language_model
from tests.workflows.small import CONFIG
from workflows.config.load import load_config
from workflows.plan import make_plan
from workflows.run import run
from workflows.stages.graph import build_graph

SLOTS = "  - {name: slots, type: token, data: {demo: slots, rows: 24}}\n"
INTENT = "data: {demo: intent, rows: 30}"
PAIR = "data: {demo: same_issue, rows: 16}"
PRETRAIN = "pretrain: {tasks: [intent, slots], steps: 6, batch_rows: 8, checkpoint_every: 2}"
PROMPT = "prompt: {length: 4, init: normal}"
WORDS = 'words: {"yes": same, "no": [other, not]}'
HARD = {
    SLOTS: "",
    INTENT: INTENT + ', template: "{text} This is about {mask}."',
    PAIR: PAIR + ', template: "{text_a} ? {mask} , {text_b}", ' + WORDS,
    PRETRAIN: "pretrain: null",
    PROMPT: "prompt: {method: hard}",
}
SOFT = {
    SLOTS: "",
    PAIR: PAIR + ', template: "{2} {text_a} {1} ? {mask} , {text_b}", ' + WORDS,
    PRETRAIN: "pretrain: {steps: 2, batch_rows: 4}",
    PROMPT: 'prompt: {method: p_tuning, length: 3, head: verbalizer, template: "{2} {text} {1} is about {mask}"}',
    "lengths: [2, 4]": "lengths: [3]",
}
"""Config text → what stands there instead."""


def config_of(folder, changes, model=None):
    text = CONFIG.format(storage=folder, model=model or language_model("bert"))
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    file = folder / "small.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(file)


@pytest.fixture(scope="module", params=["hard", "soft"])
def done(request, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("run"), HARD if request.param == "hard" else SOFT)
    plan = make_plan(config)
    return request.param, config, plan, run(config)


def test_a_run_scores_every_task_and_its_artifacts_say_how_words_answer(done):
    name, config, plan, summary = done
    assert summary.exit_code == 0 and len(summary.rows) == 2
    assert all(row.version is not None for row in summary.rows)
    for row in summary.rows:
        artifact = load_artifact(config.run_folder / f"evaluate/{row.task}/artifact")
        manifest, (member,) = artifact.manifest, artifact.members
        assert manifest.task.template and manifest.task.head == "verbalizer"
        assert manifest.method == config.prompt.method
        assert member.weight.shape == (0, 32) and (member.prompt.numel() == 0) == (name == "hard")
        if row.task == "same_issue":
            assert manifest.task.words == {"yes": ("same",), "no": ("other", "not")}
    if name == "hard":
        assert plan.prompts == 2 and plan.trainable == {"shared prompt": 0, "candidates": 0}
        for row in summary.rows:
            (trained,) = json.loads((config.run_folder / f"adapt/{row.task}/trained.json").read_text())
            assert trained["step"] == 0 and len(trained["curve"]) == 1
    assert all(one.skipped for room, one in build_graph(config).standings().items())  # run again, nothing is done
    assert "Train longer" not in (config.run_folder / "report.html").read_text() or name == "soft"


def test_prediction_answers_as_the_test_did(done):
    """Saved equals loaded: the artifact alone gives the figures that the run scored, template and words included."""
    _, config, _, summary = done
    graph = build_graph(config)
    artifacts = {row.task: load_artifact(config.run_folder / f"evaluate/{row.task}/artifact") for row in summary.rows}
    predictor = Predictor(open_backbone(next(iter(artifacts.values())).manifest.backbone), artifacts)
    rows = [{**row, "task": name} for name in artifacts for row in graph.tasks[name].splits["test"].to_list()]
    told = predictor.predict(rows)  # both tasks in one stream
    for row in summary.rows:
        own = [one for one in told if one["task"] == row.task]
        gold = PreparedTask.load(config.run_folder / f"prepare/{row.task}").gold("test")
        right = sum(one["label"] == label for one, label in zip(own, gold, strict=True)) / len(gold)
        scores = json.loads((config.run_folder / f"evaluate/{row.task}/scores.json").read_text())["winner"]["test"]
        assert right == pytest.approx(scores["accuracy"], abs=1e-6)


def test_another_template_or_word_is_another_preparation(done, tmp_path):
    name, config, _, _ = done
    if name != "hard":
        return
    before = build_graph(config).stages
    for old, new in (("about", "on"), ('": same', '": equal')):
        changed = {key: value.replace(old, new) for key, value in HARD.items()}
        after = build_graph(config_of(tmp_path, changed)).stages
        task = "intent" if old == "about" else "same_issue"
        for room in ("prepare", "adapt", "evaluate"):
            assert before[f"{room}/{task}"].fingerprint != after[f"{room}/{task}"].fingerprint


BAD = {
    "linear": ({PROMPT: "prompt: {method: hard, head: linear}"}, ["prompt.head", "hard prompts train nothing"]),
    "head": ({PROMPT: "prompt: {method: head, head: verbalizer}"}, ["prompt.head", "say method: hard"]),
    "pretrained": ({PRETRAIN: "pretrain: {steps: 2, batch_rows: 4}"}, ["nothing to pretrain", "pretrain: null"]),
    "no template": ({INTENT: INTENT}, ["prompt.template", "a template is missing"]),
    "not p_tuning": (
        {PROMPT: 'prompt: {method: hard, template: "{2} {text} {mask}"}'},
        ["soft tokens in a template go with p_tuning"],
    ),
    "own soft tokens": (
        {PROMPT: "prompt: {method: p_tuning}", INTENT: INTENT + ', template: "{2} {text}"'},
        ["tasks.intent.template", "not those of prompt.template"],
    ),
    "token task": (
        {SLOTS: SLOTS, PROMPT: "prompt: {method: hard}"},
        ["gives a text one label", "classification, pair"],
    ),
    "field": (
        {INTENT: INTENT + ', template: "{txet} {mask}"'},
        ["tasks.intent.template", "unknown field in the template", "did you mean 'text'?"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_told_before_anything_runs(case, tmp_path):
    changes, parts = BAD[case]
    with pytest.raises(InputError) as told:
        config_of(tmp_path, {**HARD, **changes})
    assert all(part in told.value.message for part in parts), told.value.message


def test_label_words_and_a_missing_language_model_head_are_told_before_anything_runs(tmp_path):
    changed = {key: value.replace('"yes": same', '"yse": same') for key, value in HARD.items()}
    with pytest.raises(InputError) as told:
        build_graph(config_of(tmp_path, changed, "minilm"))
    for part in (
        "task 'same_issue', words",
        "did you mean 'yes'?",
        "the checkpoint of 'minilm' has no language-model",
    ):
        assert part in told.value.message
