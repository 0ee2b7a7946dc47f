"""`deepprompt schedule` as a user meets it: files, next times, the next command, one clear error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from workflows.cli import schedule as cli_schedule
from workflows.cli.app import main

CONFIG = """\
name: desk
storage: /work/runs
tasks: [{name: intent, type: classification, data: {path: /work/data/intent}}]  # on the volume
registry: {uri: "http://mlflow:5000"}
"""
IMAGE = ["--image", "ghcr.io/acme/deepprompt:1.2"]


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "desk.yaml").write_text(CONFIG)
    return "desk.yaml"


def schedule(*arguments: str) -> int:
    return main(["schedule", *arguments, *([] if "--cron" in arguments else ["--cron", "0 3 * * *"])])


@pytest.mark.parametrize(
    ("target", "files"),
    [
        ("k8s", {"desk-cronjob.yaml"}),
        ("kuberay", {"desk-rayjob.yaml", "desk-raycronjob.yaml", "desk-raycluster.yaml"}),
        ("cron", {"desk.crontab"}),
        ("systemd", {"desk.service", "desk.timer"}),
        ("github", {"desk.yaml"}),
    ],
)
def test_every_target_writes_its_files_and_tells_when_and_what_next(config, target, files, tmp_path, capsys):
    assert schedule(config, "--target", target, "--out", "made", *IMAGE) == 0
    assert {path.name for path in (tmp_path / "made").iterdir()} == files
    out = capsys.readouterr().out
    assert "fires (" in out and "next: " in out
    assert "ghcr.io/acme/deepprompt:1.2: a tag: looked up anew whenever it fires" in out


def test_without_a_folder_the_files_are_stdout_and_the_talk_is_not(config, capsys):
    assert schedule(config, "--target", "k8s", *IMAGE) == 0
    out, err = capsys.readouterr()
    assert [document["kind"] for document in yaml.safe_load_all(out)][-1] == "CronJob"
    assert "fires (Etc/UTC)" in err
    assert schedule(config, "--target", "kuberay", *IMAGE) == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(capsys.readouterr().out)]
    assert kinds == ["ConfigMap", "RayJob", "ConfigMap", "RayCronJob", "ConfigMap", "RayCluster"]


def test_json_for_programs(config, capsys):
    assert schedule(config, "--target", "k8s", "--timezone", "Europe/Rome", "--cron", "@daily", "--json", *IMAGE) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["cron"] == "0 0 * * *" and len(result["next"]) == 3
    assert all(datetime.fromisoformat(time).hour == 0 for time in result["next"])


def test_changes_travel_in_the_config_of_a_cluster(config, capsys):
    assert schedule(config, "--target", "k8s", "--set", "adapt.steps=7", *IMAGE, "--json") == 0
    (text,) = json.loads(capsys.readouterr().out)["files"].values()
    sent = next(one for one in yaml.safe_load_all(text) if one["kind"] == "ConfigMap")["data"]["config.yaml"]
    assert yaml.safe_load(sent)["adapt"]["steps"] == 7
    assert schedule(config, "--target", "cron", "--set", "adapt.steps=7") == 2
    assert "write them into the config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--target", "kube"], ["--target", "did you mean 'kuberay'?"]),
        (["--target", "k8s", "--cron", "0 25 * * *", *IMAGE], ["--cron", "hour", "did you mean '0 23 * * *'?"]),
        (["--target", "k8s"], ["--image", "docker/"]),
        (["--target", "k8s", "--image", "Acme/X"], ["--image", "did you mean 'acme/x'?"]),
        (["--target", "k8s", "--timezone", "Europe/Roma", *IMAGE], ["did you mean 'Europe/Rome'?"]),
        (["--target", "cron", "--timezone", "Europe/Rome"], ["no time zones", "did you mean '--target systemd'?"]),
        (["--target", "github", "--cron", "* * * * *", *IMAGE], ["did you mean '*/5 * * * *'?"]),
        (["--target", "systemd", "--if", "staled"], ["did you mean 'stale'?"]),
    ],
)
def test_a_mistake_is_one_clear_error_and_nothing_is_written(config, arguments, fragments, tmp_path, capsys):
    assert schedule(config, *arguments, "--out", "made") == 2
    err = capsys.readouterr().err
    for fragment in fragments:
        assert fragment in err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (("/work/data/intent", "data/intent"), ["tasks.intent.data.path", "--claim"]),
        (("storage: /work/runs\n", ""), ["storage"]),
        (("http://mlflow:5000", "sqlite:///mlflow.db"), ["registry.uri"]),
        (("http://mlflow:5000", "http://me:hunter2@mlflow:5000"), ["holds a password", "MLFLOW_TRACKING_PASSWORD"]),
    ],
)
def test_what_a_cluster_cannot_reach_is_told_before_it_fires(config, change, fragments, tmp_path, capsys):
    Path(config).write_text(CONFIG.replace(*change))
    assert schedule(config, "--target", "k8s", *IMAGE) == 2
    err = capsys.readouterr().err
    for fragment in fragments:
        assert fragment in err
    assert "hunter2" not in err


def test_the_crontab_line_runs_what_it_says(config, tmp_path, monkeypatch, capsys):
    """The line as cron would run it, with a program that prints its words."""
    program = tmp_path / "it's 100% $HOME" / "deepprompt"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(cli_schedule, "_program", lambda: (str(program),))
    assert schedule(config, "--target", "cron", "--json") == 0
    (text,) = json.loads(capsys.readouterr().out)["files"].values()
    command = text.strip().splitlines()[-1].split(" ", 5)[5].replace("\\%", "%")
    subprocess.run(["/bin/sh", "-c", command], check=True, cwd="/")
    place = str(tmp_path / "desk.yaml")
    wanted = [str(tmp_path), "retrain", place, "--if", "changed", "--overlap", "forbid"]
    assert (tmp_path / "desk.log").read_text().splitlines() == wanted


def test_the_github_workflow_fits_its_schema(config, tmp_path, capsys):
    options = ["--target", "github", "--timezone", "Europe/Rome", "--overlap", "replace", "--out", "made", *IMAGE]
    assert schedule(config, *options) == 0
    file = tmp_path / "made" / "desk.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    workflow = yaml.safe_load(file.read_text())
    assert workflow[True]["schedule"] == [{"cron": "0 3 * * *", "timezone": "Europe/Rome"}]  # YAML reads `on` as true
    assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]["cancel-in-progress"] is True
    steps = workflow["jobs"]["retrain"]["steps"]
    assert "@" in steps[0]["uses"] and len(steps[0]["uses"].partition("@")[2]) == 40
    assert 'retrain "$CONFIG" --if changed --overlap replace' in steps[2]["run"]
    assert not any("${{" in step.get("run", "") for step in steps)  # nothing is pasted into a script
    if shutil.which("shellcheck", path=str(Path(sys.executable).parent)):
        for step in steps[1:]:
            subprocess.run(
                [str(Path(sys.executable).parent / "shellcheck"), "--shell=bash", "-"],
                input=step["run"], text=True, check=True,
            )  # fmt: skip


def test_a_runner_keeps_nothing(config, capsys):
    Path(config).write_text(CONFIG.replace("http://mlflow:5000", "sqlite:////work/mlflow.db"))
    assert schedule(config, "--target", "github", *IMAGE) == 2
    assert "a runner is thrown away" in capsys.readouterr().err


def test_rayjob_outside_a_pod_and_with_another_file(config, tmp_path, capsys):
    assert main(["rayjob", config, "--schedule", "desk", "--job", "desk-29000000"]) == 2
    assert "this is no RayJob" in capsys.readouterr().err
    assert main(["rayjob", "--image-only"]) == 2
    assert "works in a pod" in capsys.readouterr().err
    assert main(["rayjob", config, "--schedule", "desk", "--job", "x; reboot"]) == 2
    assert "--job" in capsys.readouterr().err
