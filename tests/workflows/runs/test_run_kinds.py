"""A run of every task type, from the config to an answer: what dev chose is what is registered, thresholds included."""

from __future__ import annotations

import json

import pytest
from kinds import ROWS, write_rows

from pipeline.registry import Predictor, PromptRegistry, load_artifact, open_backbone
from pipeline.tasks import TASK_TYPES
from tests.families import family_backbone
from workflows.config.load import load_config
from workflows.plan.make import make_plan
from workflows.run import run

CONFIG = """
name: kinds
storage: {storage}
launcher: inline
backbone: {{model: {model}, dtype: float32, sharding: none, checkpointing: {again}}}
tasks:
{tasks}
prompt: {{length: 4, init: normal}}
pretrain: {{tasks: all, steps: 4, batch_rows: 9}}
adapt: {{lengths: [2], first_layers: [0, 2], learning_rates: [2e-2], steps: 4, batch_rows: 3, evaluate_every: 2}}
ensemble: {{size: 2, distil: true}}
registry: {{uri: "sqlite:///{storage}/mlflow.db"}}
"""


@pytest.fixture(scope="module", params=["bert", "bart"])
def done(request, tmp_path_factory):
    """The config, the plan and the summary of a run of all types; long contexts are read in windows. Of the
    encoder-decoder layers are computed twice."""
    folder = tmp_path_factory.mktemp("kinds")
    rules = {"qa": ", overlap: 8", "choice": ", pooling: first"}
    tasks = "\n".join(
        f"  - {{name: {kind}, type: {kind}, data: {{path: {write_rows(folder / 'data', kind)}}}{rules.get(kind, '')}}}"
        for kind in ROWS
    )
    file = folder / "kinds.yaml"
    model, again = family_backbone(request.param), str(request.param == "bart").lower()
    text = CONFIG.format(storage=folder, model=model, again=again, tasks=tasks)
    file.write_text(text, encoding="utf-8")
    config = load_config(file)
    return config, make_plan(config), run(config)


def test_every_type_is_scored_and_registered(done):
    _, _, summary = done
    assert summary.exit_code == 0 and [row.task for row in summary.rows] == list(ROWS)
    assert {row.version for row in summary.rows} == {"1"}
    for row in summary.rows:
        assert row.metric in TASK_TYPES[row.task].metrics and -1 <= row.test <= 1


def test_the_plan_counts_every_sequence(done):
    _, plan, _ = done
    qa, choice = (next(task for task in plan.tasks if task.name == name) for name in ("qa", "choice"))
    assert qa.rows["train"] == choice.rows["train"] == 4
    assert qa.tokens["train"] > 6 * 40 and qa.longest <= 64, "two rows are three windows each"
    assert set(plan.tasks[0].truncated.values()) == set(qa.truncated.values()) == {0}


def test_thresholds_are_those_of_dev_and_travel_with_the_artifact(done):
    config, _, _ = done
    for kind in ROWS:
        folder = config.run_folder / "evaluate" / kind
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        manifest = load_artifact(folder / "artifact").manifest
        assert manifest.threshold == scores["winner"]["threshold"]
        assert (manifest.threshold is not None) == TASK_TYPES[kind].thresholded
        pair = kind in ("pair", "pair_regression")
        assert manifest.pooling == ("first" if kind == "choice" else "pair" if pair else "mean")
        # dev and test hold the same rows here, so what dev says of the winner is what test says
        assert scores["winner"]["test"][scores["metric"]] == pytest.approx(scores["winner"]["dev"], abs=1e-6)


def test_what_is_registered_answers(done):
    config, _, _ = done
    registry = PromptRegistry(config.registry.uri, config.registry.prefix)
    artifacts = {kind: load_artifact(registry.get(kind)) for kind in ROWS}
    backbone = open_backbone(next(iter(artifacts.values())).manifest.backbone)
    rows = [{"task": kind, **TASK_TYPES[kind].example} for kind in ROWS]
    told = Predictor(backbone, artifacts).predict(rows)
    assert [answer["task"] for answer in told] == list(ROWS)
    assert all(len(answer) > 1 for answer in told)
