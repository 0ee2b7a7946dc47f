"""A run as a whole: what is done is skipped, what was interrupted continues, and the artifacts are the same either
way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry, load_artifact
from tests.forks import killed
from tests.workflows.small import fingerprints, small_config
from workflows.config.load import load_config
from workflows.run import run
from workflows.stages import workers
from workflows.stages.graph import build_graph
from workflows.stages.stage import Status


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The config, the summary and the events of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = load_config(small_config(folder))
    events = []
    return config, run(config, on_event=events.append), events


def test_a_run_scores_every_task_and_registers_it(undisturbed):
    config, summary, events = undisturbed
    assert summary.exit_code == 0 and [row.task for row in summary.rows] == ["intent", "slots", "same_issue"]
    assert {row.version for row in summary.rows} == {"1"}
    assert [row.held_out for row in summary.rows] == [False, False, True]
    assert Path(summary.report).is_file()
    heard = {event["stage"] for event in events if event.get("total")}
    assert heard == {"check", "prepare", "pretrain", "adapt", "ensemble", "evaluate", "register"}
    registry = PromptRegistry(config.registry.uri)
    shown = registry.show("slots")
    (parent,) = shown.manifest.parents or (None,) if summary.rows[1].start == "shared" else (None,)
    shared = load_artifact(config.run_folder / "pretrain" / "artifact").manifest
    assert parent is None or parent.fingerprint == shared.fingerprint
    listed = {listed.task: listed for listed in registry.list()}
    assert "shared-prompt" in listed
    reasons = {task: [move.reason for move in registry.history(task) if move.alias == "champion"] for task in listed}
    assert reasons.pop("shared-prompt") == ["pretrained by small"]
    assert set(map(tuple, reasons.values())) == {("gate of small: the first one",)}
    for task in [task for task in listed if "ensemble" in listed[task].aliases]:
        lineage = registry.show(f"{task}@ensemble").lineage
        assert lineage and all(one.version is not None for one in lineage)


def test_test_scores_are_those_of_what_dev_chose(undisturbed):
    import json

    config, summary, _ = undisturbed
    for row in summary.rows:
        scores = json.loads((config.run_folder / f"evaluate/{row.task}/scores.json").read_text())
        trained = json.loads((config.run_folder / f"adapt/{row.task}/trained.json").read_text())
        assert scores["winner"]["dev"] == max(one["score"] for one in trained)
        assert scores["winner"]["dev"] == trained[scores["winner"]["number"]]["score"]


def test_a_second_run_skips_everything_and_says_why(undisturbed):
    config, summary, _ = undisturbed
    events = []
    again = run(config, on_event=events.append)
    assert again.rows == summary.rows
    skipped = [event for event in events if str(event.get("note", "")).startswith("skipped: unchanged since")]
    assert len(skipped) == len(build_graph(config).stages)
    assert not any(event.get("total") for event in events if event["stage"] != "check")


def test_the_same_config_gives_the_same_artifacts(undisturbed, tmp_path):
    config, _, _ = undisturbed
    other = load_config(small_config(tmp_path))
    run(other)
    assert fingerprints(other.run_folder) == fingerprints(config.run_folder)


def test_a_change_repeats_what_depends_on_it_and_nothing_else(undisturbed, tmp_path):
    import shutil

    config, _, _ = undisturbed
    shutil.copytree(config.run_folder, tmp_path / "small")
    file = small_config(
        tmp_path, **{"demo: slots, rows: 24}}": "demo: slots, rows: 24}, adapt: {lengths: [3]}}", "size: 2": "size: 2"}
    )
    standings = build_graph(load_config(file)).standings()
    waiting = {name for name, standing in standings.items() if not standing.skipped}
    assert waiting == {"adapt/slots", "ensemble/slots", "evaluate/slots", "register"}
    assert standings["adapt/slots"].status is Status.CHANGED and "adapt" in standings["adapt/slots"].reason


@pytest.mark.parametrize("launcher", ["inline"])
def test_one_failing_task_does_not_fail_the_others(launcher, tmp_path, monkeypatch):
    config = load_config(small_config(tmp_path))
    adapt = workers.adapt

    def failing(replica, payload, world):
        if any(one["task"].endswith("slots") for one in payload["searches"]):
            raise RuntimeError("this task is unlucky")
        return adapt(replica, payload, world)

    monkeypatch.setattr(workers, "adapt", failing)
    summary = run(config, launcher=launcher)
    assert summary.exit_code == 3 and set(summary.failed) == {"slots"} and "unlucky" in summary.failed["slots"]
    assert [row.task for row in summary.rows] == ["intent", "same_issue"]
    assert {row.version for row in summary.rows} == {"1"}
    monkeypatch.undo()
    mended = run(config, launcher=launcher)
    assert mended.exit_code == 0 and [row.task for row in mended.rows] == ["intent", "slots", "same_issue"]
    assert {row.version for row in mended.rows} == {"1"}  # what was registered before is not registered again


def test_two_runs_in_one_folder_are_refused(undisturbed):
    import fcntl

    config, _, _ = undisturbed
    with (config.run_folder / ".lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="going on already"):
            run(config)


def dies_at(config: Path, stage: str, task: str | None, done: int) -> None:
    """Runs the config until an event, and kills its own process there."""

    def die(event):
        trunk = str(event.get("note")).startswith("trunk")  # what is told before the first step
        if not trunk and (event["stage"], event.get("task"), event.get("done")) == (stage, task, done):
            os.kill(os.getpid(), signal.SIGKILL)

    run(load_config(config), on_event=die)


def test_killed_in_each_stage_ends_with_the_same_artifacts(undisturbed, tmp_path):
    """SIGKILL in pretraining, then in adaptation, in evaluation and in registration; each time the same command
    again."""
    config, summary, _ = undisturbed
    file = small_config(tmp_path)
    run_folder = tmp_path / "small"
    killed(dies_at, file, "pretrain", None, 5)
    assert (run_folder / "pretrain.partial/checkpoints/checkpoints/00000004").is_dir() and not (
        run_folder / "pretrain"
    ).exists()
    killed(dies_at, file, "adapt", "slots", 3)
    assert list(run_folder.glob(".cohorts/*/checkpoints/00000002")) and not (run_folder / "adapt/slots").exists()
    killed(dies_at, file, "ensemble", "same_issue", 1)
    killed(dies_at, file, "evaluate", "intent", 1)
    killed(dies_at, file, "register", None, 2)
    resumed = run(load_config(file))
    assert fingerprints(run_folder) == fingerprints(config.run_folder)
    assert [row.test for row in resumed.rows] == [row.test for row in summary.rows]
    assert not list(run_folder.rglob("*.partial")) and not (run_folder / ".cohorts").exists()
    versions = {listed.task: listed.versions for listed in PromptRegistry(f"sqlite:///{tmp_path}/mlflow.db").list()}
    assert versions["intent"] <= 2  # the winner and the ensemble, each once
