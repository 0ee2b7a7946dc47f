"""What a run leaves in MLflow besides its results, however it ends."""

from __future__ import annotations

import json

import pytest

from pipeline.registry import PromptRegistry
from pipeline.registry.runs.unfinished import JOURNAL, UNFINISHED
from tests.workflows.small import small_config
from workflows import journal as journaling
from workflows import run as running
from workflows.config.load import load_config
from workflows.journal import Journal
from workflows.run import run
from workflows.stages.graph import build_graph

FILES = {"run.log", "events.jsonl", "plan.txt", "plan.json"}


def quick(folder):
    """A run of a few seconds: one task, nothing pretrained."""
    changes = {
        "  - {name: intent, type: classification, data: {demo: intent, rows: 30}}\n": "",
        "  - {name: slots, type: token, data: {demo: slots, rows: 24}}\n": "",
        "pretrain: {tasks: [intent, slots], steps: 6, batch_rows: 8, checkpoint_every: 2}": "pretrain: null",
        "lengths: [2, 4]": "lengths: [2]",
        "ensemble: {size: 2}": "ensemble: null",
    }
    return load_config(small_config(folder, **changes))


def runs(config):
    """Runs that are not deleted: (record, what its journal holds)."""
    registry = PromptRegistry(config.registry.uri, config.registry.prefix)
    with registry.connection.open() as client:
        found = client.search_runs([registry.experiment(client)])
        return [
            (one, {f.path.partition("/")[2] for f in client.list_artifacts(one.info.run_id, JOURNAL)}) for one in found
        ]


def unfinished(config):
    return [(one, files) for one, files in runs(config) if UNFINISHED in one.data.tags]


def test_a_run_that_fails_then_is_stopped_then_ends(tmp_path, monkeypatch):
    """One record through all of it: failed, killed, and at the end the finished run has everything and stands alone."""
    config = quick(tmp_path)
    log = config.run_folder / "run.log"

    def failing(replica, payload, world):
        raise error

    def dies(self, room):
        raise error

    error: BaseException = OSError("the disk is gone")
    monkeypatch.setattr(running.Driver, "each_task", dies)
    config.run_folder.mkdir(parents=True)
    log.write_text("what the libraries said\n")
    with pytest.raises(OSError):
        run(config, log_file=log)
    ((record, files),) = unfinished(config)
    assert record.info.status == "FAILED" and files == FILES
    assert record.data.tags["deepprompt.folder"] == str(config.run_folder)

    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(config, log_file=log)
    ((again, _),) = unfinished(config)
    assert (again.info.run_id, again.info.status) == (record.info.run_id, "KILLED")

    monkeypatch.undo()
    summary = run(config, log_file=log)
    assert summary.exit_code == 0 and unfinished(config) == []
    (parent,) = [files for one, files in runs(config) if "task" not in one.data.tags]
    assert parent == FILES
    events = [json.loads(line) for line in (config.run_folder / "events.jsonl").read_text().splitlines()]
    told = [event["note"] for event in events if event["stage"] == "run"]
    assert told == ["failed: OSError: the disk is gone", "stopped"]
    assert "run small in" in (config.run_folder / "plan.txt").read_text()
    assert json.loads((config.run_folder / "plan.json").read_text())["name"] == "small"
    count = len(runs(config))
    run(config, log_file=log)  # nothing to do: nothing is logged
    assert len(runs(config)) == count


def test_a_run_whose_tasks_all_fail_leaves_its_log(tmp_path, monkeypatch):
    config = quick(tmp_path)

    def failing(replica, payload, world):
        raise RuntimeError("unlucky")

    monkeypatch.setattr("workflows.stages.workers.adapt", failing)
    assert run(config).exit_code == 1
    ((record, files),) = unfinished(config)
    assert record.info.status == "FAILED" and "events.jsonl" in files


def test_the_ray_job_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "small-1"}}))
    config = quick(tmp_path)
    config.run_folder.mkdir(parents=True)
    Journal(build_graph(config), config.run_folder / "run.log", lambda event: None).keep()
    ((record, _),) = unfinished(config)
    assert record.data.tags["deepprompt.job"] == "small-1" and record.info.status == "RUNNING"


def test_an_mlflow_that_went_away_ends_no_run(tmp_path, monkeypatch):
    from pipeline.errors import InputError

    def gone(*args, **more):
        raise InputError("the tracking URI does not answer")

    config = quick(tmp_path)
    config.run_folder.mkdir(parents=True)
    monkeypatch.setattr(journaling, "keep_unfinished", gone)
    heard = []
    journal = Journal(build_graph(config), config.run_folder / "run.log", heard.append)
    with pytest.raises(ZeroDivisionError), journal.kept():
        raise ZeroDivisionError
    assert any("did not reach MLflow" in event["note"] for event in heard)


def test_figures_are_written_down_sparsely_and_all_of_them_passed_on(tmp_path, monkeypatch):
    config = quick(tmp_path)
    config.run_folder.mkdir(parents=True)
    heard = []
    journal = Journal(build_graph(config), config.run_folder / "run.log", heard.append)
    for done in range(101):
        journal({"stage": "adapt", "task": "a", "done": done, "total": 100})
    journal({"stage": "adapt", "task": "b", "done": 7, "total": 100})
    journal({"stage": "adapt", "note": "a remark"})
    lines = [json.loads(line) for line in (config.run_folder / "events.jsonl").read_text().splitlines()]
    assert [(line.get("task"), line.get("done")) for line in lines] == [("a", 0), ("a", 100), ("b", 7), (None, None)]
    assert len(heard) == 103
