"""A run is logged once: a parent with its tasks as children, however often it is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.errors import InputError
from pipeline.registry import RunRecord, TaskRecord, log_run


@pytest.fixture
def record(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "dev.svg").write_text("<svg/>")
    (tmp_path / "report.html").write_text("<p>")
    return RunRecord(
        key="f" * 64,
        name="demo",
        params={"seed": 0, "lengths": [8, 16]},
        metrics={"seconds": 3.5},
        curves={"pretrain.loss": [(10, 1.5), (20, 0.75)]},
        files=[tmp_path / "report.html"],
        tasks=[
            TaskRecord("intent", {"length": 8}, {"test.accuracy": 0.5}, {"dev": [(1, 0.1)]}, [tmp_path / "figures"]),
            TaskRecord("slots"),
        ],
    )


def runs_of(client, registry):
    return client.search_runs([registry.experiment(client)])


def test_a_run_and_its_tasks(registry, record):
    logged = log_run(registry, record)
    with registry.connection.open() as client:
        parent = client.get_run(logged.run_id)
        assert parent.data.params == {"seed": "0", "lengths": "[8, 16]"} and parent.info.status == "FINISHED"
        assert parent.data.metrics == {"seconds": 3.5, "pretrain.loss": 0.75}
        curve = client.get_metric_history(logged.run_id, "pretrain.loss")
        assert [(point.step, point.value) for point in curve] == [(10, 1.5), (20, 0.75)]
        assert [file.path for file in client.list_artifacts(logged.run_id)] == ["report.html"]
        child = client.get_run(logged.tasks["intent"])
        assert child.data.tags["mlflow.parentRunId"] == logged.run_id and child.data.tags["task"] == "intent"
        assert child.data.metrics == {"test.accuracy": 0.5, "dev": 0.1}
        assert [file.path for file in client.list_artifacts(logged.tasks["intent"], "figures")] == ["figures/dev.svg"]
        assert len(runs_of(client, registry)) == 3


def test_logging_again_changes_nothing(registry, record):
    first = log_run(registry, record)
    assert log_run(registry, replace(record, metrics={"seconds": 99.0}, params={"seed": 5})) == first
    with registry.connection.open() as client:
        assert client.get_run(first.run_id).data.metrics["seconds"] == 3.5
        assert len(client.get_metric_history(first.run_id, "pretrain.loss")) == 2
        assert len(runs_of(client, registry)) == 3


def test_an_interrupted_logging_ends_the_same(registry, record, monkeypatch):
    from mlflow import MlflowClient

    write, calls = MlflowClient.log_batch, []

    def dies(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 3:  # the parent is complete, the first child is begun
            raise KeyboardInterrupt
        return write(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        log_run(registry, record)
    monkeypatch.undo()
    logged = log_run(registry, record)
    with registry.connection.open() as client:
        runs = runs_of(client, registry)
        assert {run.info.run_id for run in runs} == {logged.run_id, *logged.tasks.values()}
        assert all(run.info.status == "FINISHED" for run in runs)
        assert client.get_run(logged.tasks["intent"]).data.params == {"length": "8"}


def test_long_curves_and_many_settings(registry, record):
    params = {f"p{n}": "x" * 7000 for n in range(130)}
    logged = log_run(
        registry, replace(record, params=params, curves={"loss": [(n, n / 2) for n in range(1205)]}, tasks=[])
    )
    with registry.connection.open() as client:
        assert len(client.get_metric_history(logged.run_id, "loss")) == 1205
        assert len(client.get_run(logged.run_id).data.params) == 130


def test_a_missing_file_is_told_before_anything_is_logged(registry, record, tmp_path):
    with pytest.raises(InputError, match="a file to log is missing"):
        log_run(registry, replace(record, tasks=[TaskRecord("intent", files=[tmp_path / "gone.svg"])]))
    with registry.connection.open() as client:
        assert runs_of(client, registry) == []
