"""Retraining with other methods: what pretraining left in the registry serves as it did in its own run."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
import torch

from pipeline.registry import PromptRegistry
from pipeline.training.results import load_shared
from tests.workflows.retrain.desk import make_desk, write_things
from workflows.config.load import load_config
from workflows.retrain.retrain import retrain
from workflows.retrain.shared import current_shared, fetch_shared, why_pretrain
from workflows.stages.graph import build_graph

DAY = date(2026, 3, 1)
PROMPT, PRETRAIN = "prompt: {length: 2, init: normal}", "pretrain: {"


@pytest.mark.parametrize("kind", ["retrieval", "factors"])
def test_prompts_and_factors_of_the_tasks_come_back_out_of_the_registry(kind, tmp_path):
    pretrain = f"pretrain: {{kind: {kind}, "
    config = load_config(make_desk(tmp_path, **{PRETRAIN: pretrain}))
    first = retrain(config, as_of=DAY)
    assert first.exit_code == 0 and {row.outcome for row in first.rows} == {"promoted"}
    registry = PromptRegistry(config.registry.uri)
    current = current_shared(registry)
    given = load_shared(fetch_shared(registry, current, tmp_path / "given").folder)
    ((trained,),) = [list((tmp_path / "runs").glob("desk*/pretrain"))]
    made = load_shared(trained)
    assert torch.equal(given.prompt, made.prompt) and given.similarity == made.similarity
    for name in ("intent", "things"):
        assert kind != "retrieval" or torch.equal(given.own[name], made.own[name])
        assert kind != "factors" or all(map(torch.equal, given.factors[name], made.factors[name]))
    write_things(tmp_path, seed=5)
    second = retrain(config, as_of=DAY + timedelta(days=1))
    assert second.exit_code == 0 and second.pretrain is None
    assert {row.task: row.challenger for row in second.rows}["things"] == 2

    changed = build_graph(load_config(make_desk(tmp_path)))
    assert "kind of pretraining changed" in why_pretrain(changed, current)
    tuning = {PROMPT: "prompt: {method: prompt_tuning, length: 2, init: normal}", ", first_layers: [0]": ""}
    changed = build_graph(load_config(make_desk(tmp_path, **{PRETRAIN: pretrain, **tuning})))
    assert "method changed" in why_pretrain(changed, current)
