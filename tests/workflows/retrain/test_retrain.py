"""Retraining, end to end on a tiny backbone: decisions by date and data, the gate, what a failing task leaves alone."""

from __future__ import annotations

import json
import os
import signal
from datetime import date, timedelta

import pytest

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry
from pipeline.registry.versions.notes import noted_versions
from tests.forks import killed
from tests.workflows.retrain.desk import make_desk, write_intent, write_things
from workflows.config.load import load_config
from workflows.retrain.retrain import retrain
from workflows.stages import workers

DAY = date(2026, 3, 1)


def rows_of(summary):
    return {row.task: row for row in summary.rows}


def champions(config):
    return PromptRegistry(config.registry.uri).aliases("champion")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A desk after its first retraining, on an empty registry: the folder, the config and the summaries."""
    folder = tmp_path_factory.mktemp("desk")
    config = load_config(make_desk(folder))
    looked = retrain(config, as_of=DAY, dry_run=True)
    untouched = PromptRegistry(config.registry.uri).list() == () and not list((folder / "runs").glob("desk*"))
    return folder, config, looked, untouched, retrain(config, as_of=DAY)


def test_the_first_time_everything_is_pretrained_adapted_and_promoted(desk):
    _, config, looked, untouched, summary = desk
    assert untouched and {row.outcome for row in looked.rows} == {"would adapt"} and looked.exit_code == 0
    assert summary.pretrain == looked.pretrain == "the registry has no shared prompt yet"
    for row in summary.rows:
        assert (row.decision, row.why, row.outcome) == ("adapt", "it has no champion yet", "promoted")
        assert row.champion is None and row.challenger == 1
    assert champions(config) == {"intent": 1, "things": 1, "shared-prompt": 1}


def test_a_month_at_the_desk(desk):
    """One story, date by date: what was done is not done again, what changed is, and from the same shared prompt."""
    folder, config, *_ = desk
    again = retrain(config, as_of=DAY)
    assert again.run is None and again.exit_code == 0
    assert {row.why for row in again.rows} == {"nothing changed since v1"}
    forced = retrain(config, conditions=["always"], as_of=DAY)
    assert forced.run is None and {row.why for row in forced.rows} == {
        "done for 2026-03-01 already, with the same config and data"
    }
    write_things(folder, seed=5)
    second = DAY + timedelta(days=1)
    looked = rows_of(retrain(config, as_of=second, dry_run=True))
    assert looked["things"].outcome == "would adapt" and looked["intent"].decision == "keep"
    assert champions(config)["things"] == 1  # nothing was done
    found = retrain(config, as_of=second)
    row = rows_of(found)["things"]
    assert row.why == "changed since v1: data (train), data (dev), data (test)"
    assert found.pretrain is None and row.challenger == 2 and row.outcome in ("promoted", "challenger", "rejected")
    assert row.interval[0] <= row.gain <= row.interval[1]
    assert rows_of(found)["intent"].outcome == "kept" and champions(config)["intent"] == 1
    run = config.run_folder.with_name("desk.retrain-2026-03-02")
    assert {path.name for path in (run / "adapt").iterdir()} == {"things"} and not (run / "pretrain").exists()
    versions = noted_versions(PromptRegistry(config.registry.uri), "things")
    assert {one.notes["shared_prompt"] for one in versions if "shared_prompt" in one.notes} <= {"shared-prompt@v1"}
    assert (
        json.loads(versions[1].notes["gate"])["decision"]
        == {"promoted": "promote", "challenger": "challenger", "rejected": "reject"}[row.outcome]
    )
    missed = retrain(config, conditions=["always"], as_of=DAY)  # a date that a later one has covered
    assert missed.run is None and {row.why for row in missed.rows} == {
        "a retraining for 2026-03-02 is done, which is later"
    }
    old = retrain(config, conditions=["stale"], as_of=DAY + timedelta(days=400))
    assert rows_of(old)["intent"].outcome == "same"  # from the shared prompt and its heads in the registry: bit by bit
    assert rows_of(old)["intent"].why.startswith("stale: v1 is ")
    young = retrain(config, conditions=["stale"], as_of=DAY + timedelta(days=401))
    assert rows_of(young)["intent"].why == "v1 is 1 day old, max_age is 30"


def test_a_worse_challenger_is_rejected_and_not_trained_again_from_the_same_rows(tmp_path):
    config = load_config(make_desk(tmp_path))
    retrain(config, as_of=DAY)
    write_intent(tmp_path, shift=1)  # train now teaches the wrong labels; dev asks for the right ones
    found = retrain(config, as_of=DAY)
    row = rows_of(found)["intent"]
    assert row.outcome == "rejected" and row.gain < -0.02 and (row.champion, row.challenger) == (1, 2)
    assert "worse by more than max_loss" in row.told and found.exit_code == 0
    registry = PromptRegistry(config.registry.uri)
    assert registry.aliases("champion")["intent"] == 1 and "intent" not in registry.aliases("challenger")
    verdict = json.loads(noted_versions(registry, "intent")[1].notes["gate"])
    assert verdict["decision"] == "reject" and verdict["evidence"]["mcnemar"]["only_champion"] > 0
    assert verdict["evidence"]["champion"] == pytest.approx(
        registry.show("intent@v1").manifest.metrics["dev"]["accuracy"]
    )
    again = rows_of(retrain(config, as_of=DAY + timedelta(days=1)))["intent"]
    assert again.why == "nothing changed since v2 (which is not the champion)"
    # The same answers on rows whose labels have moved: the champion's dev score falls.
    write_intent(tmp_path, shift=1, dev_shift=1)
    look = rows_of(retrain(config, conditions=["degraded"], as_of=DAY + timedelta(days=2)))
    assert look["intent"].why.startswith("degraded: dev ") and look["intent"].outcome == "promoted"
    assert (
        look["intent"].gain > 0.02 and look["things"].why == "not degraded: the dev rows are those it was trained with"
    )
    history = registry.history("intent")
    assert [one.version for one in history if one.alias == "champion"] == [look["intent"].challenger, 1]
    assert history[0].evidence["decision"] == "promote" and "gate of desk.retrain-2026-03-03" in history[0].reason


def test_other_labels_cannot_be_compared_and_the_policy_says_what_then(tmp_path):
    config = load_config(make_desk(tmp_path))
    retrain(config, as_of=DAY)
    write_intent(tmp_path, verbs=("order", "cancel", "refund", "lost"))
    row = rows_of(retrain(config, as_of=DAY))["intent"]
    assert row.outcome == "challenger" and row.gain is None
    assert row.told == "v1 cannot be compared: it has other labels (1 are new: lost)"
    registry = PromptRegistry(config.registry.uri)
    assert registry.aliases("champion")["intent"] == 1 and registry.aliases("challenger")["intent"] == 2
    promoting = load_config(tmp_path / "desk.yaml", ["gate.incomparable=promote", "adapt.steps=41"])
    row = rows_of(retrain(promoting, as_of=DAY))["intent"]
    assert row.outcome == "promoted" and registry.aliases("champion")["intent"] == row.challenger == 3


def test_one_failing_task_leaves_the_others_promoted(tmp_path, monkeypatch):
    config = load_config(make_desk(tmp_path))
    adapt = workers.adapt

    def failing(replica, payload, world):
        if any(one["task"].endswith("things") for one in payload["searches"]):
            raise RuntimeError("this task is unlucky")
        return adapt(replica, payload, world)

    monkeypatch.setattr(workers, "adapt", failing)
    found = retrain(config, as_of=DAY)
    assert found.exit_code == 3 and rows_of(found)["things"].outcome == "failed"
    assert "unlucky" in rows_of(found)["things"].told and champions(config) == {"intent": 1, "shared-prompt": 1}
    monkeypatch.undo()
    mended = retrain(config, as_of=DAY)
    assert mended.exit_code == 0 and mended.pretrain is None and champions(config)["things"] == 1
    assert rows_of(mended)["intent"].why == "nothing changed since v1"
    (tmp_path / "data/things/dev.jsonl").write_text('{"tokens": ["a"]}\n')
    write_intent(tmp_path, seed=3)
    broken = retrain(config, as_of=DAY)
    assert broken.exit_code == 3 and rows_of(broken)["things"].decision == "fail"
    assert "tags" in rows_of(broken)["things"].told and rows_of(broken)["intent"].challenger == 2
    (tmp_path / "data/intent/dev.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="intent"):
        retrain(config, as_of=DAY)


def dies_evaluating(file):
    def die(event):
        if (event["stage"], event.get("task"), event.get("done")) == ("evaluate", "things", 1):
            os.kill(os.getpid(), signal.SIGKILL)

    retrain(load_config(file), as_of=DAY, on_event=die)


def test_killed_in_the_middle_the_same_command_ends_with_the_same_champions(desk, tmp_path):
    """SIGKILL leaves the lease behind: who waits for it gets it after its silence and continues from what is done."""
    _, undisturbed, *_ = desk
    file = make_desk(tmp_path)
    killed(dies_evaluating, file)
    config = load_config(file)
    notes = []
    found = retrain(config, as_of=DAY, overlap="queue", on_event=lambda event: notes.append(str(event.get("note"))))
    assert any(note.startswith("waiting for process") for note in notes)
    assert sum(note.startswith("skipped: unchanged since") for note in notes) >= 5  # prepared, pretrained, adapted
    assert {row.outcome for row in found.rows} == {"promoted"} and found.exit_code == 0
    one, other = (PromptRegistry(each.registry.uri) for each in (config, undisturbed))
    for task in ("intent", "things"):
        assert one.show(f"{task}@v1").manifest.fingerprint == other.show(f"{task}@v1").manifest.fingerprint
