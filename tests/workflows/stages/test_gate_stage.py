"""The gate of every run: who is compared, on which rows, and that a faster promoter is not overrun."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipeline.registry import PromptRegistry
from tests.tiny import tiny_backbone
from tests.workflows.retrain.desk import make_desk, write_intent
from workflows.config.load import load_config
from workflows.run import run
from workflows.stages import gate as gate_stage
from workflows.stages.gate import Contender, Gate
from workflows.stages.graph import build_graph
from workflows.stages.verdicts import Verdict, carry_out

ENSEMBLE = {"ensemble: null": "ensemble: {size: 2}", "seeds: 1": "seeds: 2"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A desk whose config was run: the folder, the config, the summary."""
    folder = tmp_path_factory.mktemp("desk")
    config = load_config(make_desk(folder, **ENSEMBLE))
    return folder, config, run(config)


def judged(config, contenders, answering=None):
    graph = build_graph(config)
    registry = PromptRegistry(config.registry.uri)
    gate = Gate(graph, registry, answering or (lambda work, told: []), config.run_folder / "champions")
    return gate.judge(contenders)


def contender(config, task="intent", alias="champion", champion=1, version=7):
    return Contender(task, alias, config.run_folder / f"evaluate/{task}/artifact", version, champion)


def test_the_first_run_is_promoted_without_a_comparison(desk):
    _, config, summary = desk
    assert {row.task: summary.gate[row.task]["decision"] for row in summary.rows} == {
        "intent": "promote",
        "things": "promote",
    }
    (last,) = [one for one in PromptRegistry(config.registry.uri).history("intent") if one.alias == "champion"]
    assert last.reason == "gate of desk: the first one" and last.previous is None


def test_a_run_after_it_goes_through_the_gate_with_its_ensemble(desk):
    """All pairs of a task answer in one go; scores on the same rows are those that training recorded."""
    folder, config, _ = desk
    changed = load_config(folder / "desk.yaml", ["adapt.steps=16", "name=other"])
    seen = []
    compare = gate_stage.comparing.compare

    def watching(replica, payload, world):
        seen.append(payload)
        return compare(replica, payload, world)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate_stage.comparing, "compare", watching)
        summary = run(changed)
    registry = PromptRegistry(config.registry.uri)
    assert {payload["task"] for payload in seen} <= {"intent", "things"}
    verdict = summary.gate["intent"]
    if verdict["decision"] != "same":
        evidence, shown = verdict["evidence"], registry.show(f"intent@v{verdict['version']}")
        assert evidence["challenger"] == pytest.approx(shown.manifest.metrics["dev"]["accuracy"])
        assert evidence["champion"] == pytest.approx(registry.show("intent@v1").manifest.metrics["dev"]["accuracy"])
        assert evidence["split"] == "dev" and evidence["rows"] == 60
        (payload,) = [one for one in seen if one["task"] == "intent"]
        assert payload["rows"].endswith(f"{evidence['rows_sha256']}.arrow")
        assert len(payload["artifacts"]) == 2 * len(payload["pairs"])
    assert set(seen[0]["pairs"]) >= {"champion"}


def test_another_backbone_cannot_be_compared(desk):
    folder, *_ = desk
    other = load_config(folder / "desk.yaml", [f"backbone.model={tiny_backbone('gpt2')}"])
    (verdict,), failed = judged(other, [contender(other)])
    assert verdict.decision == "challenger" and not failed
    assert verdict.reason.startswith("v1 cannot be compared: it was made for another backbone (")


@pytest.mark.parametrize("policy", ["challenger", "promote", "reject"])
def test_the_policy_for_what_cannot_be_compared(desk, policy, tmp_path):
    folder, *_ = desk
    write_intent(tmp_path, verbs=("order", "cancel"))
    data = f"tasks.intent.data.path={tmp_path}/data/intent"
    other = load_config(folder / "desk.yaml", [data, f"gate.incomparable={policy}"])
    (verdict,), _ = judged(other, [contender(other)])
    assert verdict.decision == policy and "1 are gone: refund" in verdict.reason


def test_a_tasks_own_bounds_count_for_it_alone(desk):
    folder, _, _ = desk
    config = load_config(folder / "desk.yaml", ["tasks.intent.gate={max_loss: 0.5, min_gain: -0.5}"])
    assert config.gate_for("intent").max_loss == 0.5 and config.gate_for("things").max_loss == 0.02
    worse = {
        "metric": "accuracy",
        "rows": 60,
        "champion": 0.9,
        "challenger": 0.8,
        "gain": -0.1,
        "interval": [-0.2, 0.0],
        "confidence": 0.95,
        "resamples": 200,
        "seed": 0,
        "mcnemar": {"only_champion": 9, "only_challenger": 3, "p": 0.1},
    }
    both = [contender(config, "intent"), contender(config, "things")]
    verdicts, _ = judged(config, both, lambda work, told: [({"champion": worse}, None) for _ in told])
    assert {one.task: one.decision for one in verdicts} == {"intent": "promote", "things": "reject"}
    assert json.loads(json.dumps(verdicts[0].as_json()))["evidence"]["max_loss"] == 0.5


def test_a_comparison_that_fails_fails_its_task_alone(desk):
    _, config, _ = desk
    both = [contender(config, "intent"), contender(config, "things", champion=None)]
    verdicts, failed = judged(config, both, lambda work, told: [(None, "out of memory")])
    assert failed == {"intent": "out of memory"} and [one.task for one in verdicts] == ["things"]


def test_a_faster_promoter_is_not_overrun(desk):
    from pipeline.errors import InputError

    _, config, _ = desk
    registry = PromptRegistry(config.registry.uri)
    now = registry.aliases("champion")["things"]
    verdict = Verdict("things", "champion", "promote", "better", 1, now + 10, "dev")
    with pytest.raises(InputError, match="champion was moved meanwhile"):
        carry_out(registry, [verdict], {}, reason="test")
    assert registry.aliases("champion")["things"] == now
    carry_out(registry, [replace(verdict, decision="challenger")], {"why": "test"}, reason="test")
    assert registry.aliases("challenger")["things"] == 1 and registry.aliases("champion")["things"] == now
    verdict = replace(verdict, alias="ensemble", decision="challenger")
    before = registry.aliases("ensemble")
    carry_out(registry, [verdict], {}, reason="test")  # an ensemble has no challenger: it is registered, no more
    assert registry.aliases("ensemble") == before
