"""A plan says how the data of a run would reach a cluster, before anything is sent."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import fsspec
import pytest
from rich.console import Console

from cluster.jobs import places
from tests.tiny import tiny_backbone
from tests.workflows.two_tasks import ROWS, write_task
from workflows.cli.plan_text import render
from workflows.config.load import load_config
from workflows.plan import make_plan


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "one")
    write_task(tmp_path / "two")
    file = tmp_path / "run.yaml"
    file.write_text(
        f"""\
name: small
launcher: inline
backbone: {{model: {tiny_backbone("bert")}, dtype: float32}}
tasks:
  - {{name: one, type: classification, data: {{path: one}}}}
  - {{name: two, type: classification, data: {{path: two}}}}
pretrain: null
adapt: {{lengths: [2], steps: 4, batch_rows: 6, evaluate_every: 2}}
"""
    )
    return file


def shown(plan) -> str:
    text = StringIO()
    render(plan, Console(file=text, width=300))
    return text.getvalue()


def test_folders_that_travel_are_counted(config_file):
    plan = make_plan(load_config(config_file))
    hows = {place.what: place.how for place in plan.places}
    assert hows == {"the data of one": "sent", "the data of two": "sent", "the backbone": "sent"}
    assert "as a job (deepprompt submit): 3 folders (" in shown(plan)
    assert plan.as_json()["places"][0]["how"] == "sent"


def test_what_could_not_be_sent_is_told_and_fails_no_plan(config_file, monkeypatch):
    monkeypatch.setattr(places, "LIMIT", 10)
    plan = make_plan(load_config(config_file))  # a run on this machine needs none of it
    assert "as a job (deepprompt submit): it could not be sent" in shown(plan) and "--shared FOLDER" in shown(plan)
    monkeypatch.undo()
    (config_file.parent / "two" / ".env").write_text("PASSWORD=x")
    (problem,) = make_plan(load_config(config_file)).unsendable
    assert "must not travel" in problem and "PASSWORD" not in problem


def test_data_at_a_uri_are_planned_and_told(config_file):
    for split in ROWS:
        text = (config_file.parent / "one" / f"{split}.jsonl").read_bytes()
        fsspec.filesystem("memory").pipe(f"/planned/{split}.jsonl", text)
    config_file.write_text(config_file.read_text().replace("path: one", 'path: "memory://planned"'))
    plan = make_plan(load_config(config_file))
    assert plan.tasks[0].rows == ROWS
    assert "the data of one: memory://planned is read there by the job" in shown(plan)
