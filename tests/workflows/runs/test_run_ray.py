"""The whole thread on Ray: two ranks share the backbone with ZeRO-3, actors adapt, the driver registers."""

from __future__ import annotations

import json

import pytest

from pipeline.backbone import load_backbone
from pipeline.backbone.sharding import what_zero3_lacks
from pipeline.registry import Predictor, PromptRegistry, load_artifact
from tests.workflows.small import small_config
from workflows.config import load_config
from workflows.run import run


def test_a_run_on_ray_with_a_sharded_backbone(ray_cluster, tmp_path, monkeypatch):
    if what_zero3_lacks():
        pytest.skip(f"DeepSpeed cannot start here: {what_zero3_lacks()}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    changes = {"sharding: none": "sharding: zero3", "checkpoint_every: 2": "checkpoint_every: 2, workers: 2"}
    config = load_config(small_config(tmp_path, **changes))
    events = []
    summary = run(config, launcher="ray", on_event=events.append, log_file=tmp_path / "log")
    assert summary.exit_code == 0, summary.failed
    assert [row.version for row in summary.rows] == ["1", "1", "1"]
    pretrained = json.loads((config.run_folder / "pretrain/stage.json").read_text())["summary"]
    assert pretrained["sharding"] == "zero3" and pretrained["workers"] == 2
    assert pretrained["backbone_checksum"] == load_backbone(config.backbone.model).checksum()
    for stage in ("pretrain", "adapt", "ensemble", "evaluate"):  # progress reaches the driver from every process
        assert any(event.get("stage") == stage and event.get("done") == event.get("total") for event in events), stage
    artifact = load_artifact(PromptRegistry(config.registry.uri).get("intent"))
    (answer,) = Predictor(load_backbone(config.backbone.model), {"intent": artifact}).predict([{"text": "cancel it"}])
    assert answer["label"] in artifact.manifest.task.labels
    again = run(config, launcher="ray")
    assert again.rows == summary.rows
