"""A run on an encoder-decoder, from the config to an answer: its prompts stand where its heads read."""

from __future__ import annotations

import pytest
import torch
from small import CONFIG

from pipeline.errors import InputError
from pipeline.registry import Predictor, load_artifact, open_backbone
from tests.families import family_backbone
from workflows.config.load import load_config
from workflows.plan.make import make_plan
from workflows.run import run


def config_of(folder, family, **changes):
    text = CONFIG.format(storage=folder, model=family_backbone(family))
    changes = {
        "dtype: float32": "dtype: float32, checkpointing: true",
        "  - {{name: same_issue, type: pair, data: {{demo: same_issue, rows: 16}}}}\n".format(): "",
        "ensemble: {size: 2}": "ensemble: null",
        **changes,
    }
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    file = folder / "small.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(file)


def test_prompts_of_an_encoder_decoder_stand_in_its_encoder(tmp_path):
    config = config_of(tmp_path, "t5")
    assert make_plan(config).layers == 7 and config.attention == ("encoder",)
    summary = run(config)
    assert summary.exit_code == 0 and [row.task for row in summary.rows] == ["intent", "slots"]
    artifacts = {
        name: load_artifact(config.run_folder / "evaluate" / name / "artifact") for name in ("intent", "slots")
    }
    manifest = artifacts["intent"].manifest
    assert manifest.sites == (0, 1, 2) and manifest.layers == 7
    (member,) = artifacts["intent"].members
    assert member.prompt.shape[0] == 3 - manifest.first_layers[0]
    backbone = open_backbone(manifest.backbone)
    assert backbone.info.standing == tuple(range(7)), "who serves may hold prompts of other attentions beside these"
    together = Predictor(backbone, artifacts).predict(
        [{"task": "intent", "text": "cancel my order"}, {"task": "slots", "tokens": ["my", "order"]}]
    )
    alone = Predictor(backbone, {"intent": artifacts["intent"]}).predict([{"text": "cancel my order"}])
    assert together[0]["label"] == alone[0]["label"]
    assert torch.isclose(torch.tensor(together[0]["score"]), torch.tensor(alone[0]["score"]), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "attention", "said"),
    [
        ("t5", "[encoder, cross]", "no task writes: prompts in the decoder would have no effect"),
        ("t5", "[decoder]", "no task writes"),
        ("bert", "[encoder]", "nothing to choose: the backbone has one kind of attention"),
    ],
)
def test_prompts_that_nothing_would_read_are_refused(family, attention, said, tmp_path):
    config = config_of(tmp_path, family, **{"init: normal": f"init: normal, attention: {attention}"})
    with pytest.raises(InputError, match=rf"prompt\.attention: .*{said}"):
        make_plan(config)
