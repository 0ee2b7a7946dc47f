"""A run of a task that is written: what the plan says of it, its figures, what is registered; and what is refused."""

from __future__ import annotations

import json

import pytest
from kinds import write_rows

from pipeline.errors import InputError
from pipeline.registry import Predictor, PromptRegistry, load_artifact, open_backbone
from tests.families import language_model
from tests.tiny import tiny_backbone
from workflows.config.load import load_config
from workflows.plan.make import make_plan
from workflows.run import run
from workflows.stages.graph import build_graph

CONFIG = """
name: written
storage: {storage}
launcher: inline
backbone: {{model: {model}, dtype: float32, sharding: none}}
tasks:
  - {{name: tell, type: generation, data: {{path: {data}/generation}}, decoding: {{max_new_tokens: 6, beams: 2}}}}
  - {{name: kind, type: classification, data: {{path: {data}/classification}}}}
prompt: {{length: 4, init: normal}}
pretrain: {{tasks: all, steps: 3, batch_rows: 6}}
adapt: {{lengths: [2], first_layers: [0, 2], learning_rates: [2e-2], steps: 4, batch_rows: 3, evaluate_every: 2}}
ensemble: {{size: 2}}
registry: {{uri: "sqlite:///{storage}/mlflow.db"}}
"""


def config_of(folder, model, text=CONFIG):
    for kind in ("generation", "classification"):
        write_rows(folder / "data", kind)
    file = folder / "written.yaml"
    file.write_text(text.format(storage=folder, model=model, data=folder / "data"), encoding="utf-8")
    return load_config(file)


@pytest.fixture(scope="module", params=["llama", "t5"])
def done(request, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("written"), language_model(request.param))
    return config, make_plan(config), run(config)


def test_it_is_scored_by_what_it_writes(done):
    config, plan, summary = done
    assert summary.exit_code == 0 and summary.rows[0].metric == "bleu"
    scores = json.loads((config.run_folder / "evaluate" / "tell" / "scores.json").read_text(encoding="utf-8"))
    assert scores["ensemble"] is None and set(scores["winner"]["test"]) == {
        "bleu",
        "chrf",
        "rouge1",
        "rouge2",
        "rougeL",
    }
    # dev and test hold the same rows here
    assert scores["winner"]["test"]["bleu"] == pytest.approx(scores["winner"]["dev"])
    assert scores["intervals"]["scores"]["winner"] is not None
    (notes,) = (task.notes for task in plan.tasks if task.name == "tell")
    assert any("likelihood" in note and "2 beams" in note for note in notes)
    assert any("no ensemble" in note for note in notes)
    assert "ensemble/kind" in build_graph(config).stages and "ensemble/tell" not in build_graph(config).stages


def test_what_is_registered_writes_what_was_scored(done):
    config, _, _ = done
    registry = PromptRegistry(config.registry.uri, config.registry.prefix)
    artifact = load_artifact(registry.get("tell"))
    assert artifact.manifest.task.decoding.model_dump() == {
        "max_new_tokens": 6, "beams": 2, "length_penalty": 1.0
    }  # fmt: skip
    backbone = open_backbone(artifact.manifest.backbone)
    (told,) = Predictor(backbone, {"tell": artifact}).predict([{"input": "order late"}])
    assert told["task"] == "tell" and isinstance(told["text"], str)


def test_an_encoder_is_refused_before_anything_is_computed(tmp_path):
    config = config_of(tmp_path, tiny_backbone("bert"))
    with pytest.raises(InputError) as told:
        build_graph(config)
    assert "an encoder reads texts and writes none" in told.value.message
    assert "expected a decoder or an encoder-decoder" in told.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("max_new_tokens: 6", "max_new_tokens: 0"), "decoding"),
        (("beams: 2", "length_penalty: 2.0"), "length_penalty goes with beams"),
        (("type: classification", "decoding: {{beams: 2}}, type: classification"), "decoding goes with types"),
        (("pretrain: {{", "pretrain: {{kind: factors, distil: true, "), "scores of the whole vocabulary"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, said, tmp_path):
    with pytest.raises(InputError) as told:
        build_graph(config_of(tmp_path, language_model("llama"), CONFIG.replace(*change)))
    assert said in told.value.message
