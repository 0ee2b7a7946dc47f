"""Jobs on a real Ray head that asks for a token: sent once, stopped in good order, continued after a lost head."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import write_run

from cluster.jobs import manage
from cluster.jobs import submit as submitting
from cluster.jobs.connect import connect, on_this_machine
from pipeline.errors import InputError
from pipeline.registry import PromptRegistry
from pipeline.registry.runs.unfinished import JOURNAL, UNFINISHED
from tests.cluster.jobs.heads import Head
from tests.workflows.small import fingerprints, small_config
from workflows.cli.app import main
from workflows.config.load import load_config
from workflows.run import run

TOKEN = "a-token-of-the-tests"
RAYS_OWN = ("Running entrypoint for job ", "job_manager.py:")
"""What the lines that Ray adds to a job's log have in them."""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    made = Head(tmp_path_factory.mktemp("head"), TOKEN)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's: no token is found by chance, and no address."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return found


def test_sent_once_and_adopted_when_sent_again(head: Head, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # as inside another job: must not win
    with pytest.raises(InputError, match="asks for a token"):
        connect(head.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert on_this_machine(connect(head.address), head.address)
    config = write_run(home)
    lines: list[str] = []
    entry = "ls sent/0; python -c 'import cluster, os; print(os.environ[\"WORD\"])'; exit 3"
    first = submitting.submit(config, address=head.address, env={"WORD": "hi"}, on_line=lines.append, entrypoint=entry)
    assert (first.status, first.exit_code, first.adopted) == ("FAILED", 3, False)
    own = [line for line in lines if not any(mark in line for mark in RAYS_OWN)]  # they may come after the command's
    assert own[-1] == "hi" and [line for line in own if line in ("intent", "hi")] == ["intent", "hi"]

    entry = "sleep 2; echo done"
    sent = submitting.submit(config, address=head.address, follow=False, entrypoint=entry)
    lines.clear()
    adopted = submitting.submit(config, address=head.address, on_line=lines.append, entrypoint=entry)
    assert adopted.submission_id == sent.submission_id
    assert (adopted.status, adopted.exit_code, adopted.adopted) == ("SUCCEEDED", 0, True)
    assert lines[-1] == "done"
    assert lines.count("done") == 1


def test_stop_gives_time_and_tells_the_truth_of_a_job_that_waits(
    head: Head, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job holds the only core and takes four seconds to end, more than Ray's own grace; another waits for it."""
    monkeypatch.setattr(manage, "PENDING_SECONDS", 2.0)
    client = connect(head.address, TOKEN)
    mark = home / "mark"
    trap = f"trap 'sleep 4; touch {mark}; exit 0' TERM; echo ready; while true; do sleep 0.1; done"
    grace = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}
    client.submit_job(entrypoint=trap, submission_id="holds", runtime_env=grace, entrypoint_num_cpus=1)
    wait_for(lambda: "ready" in client.get_job_logs("holds"), "the job has begun")
    client.submit_job(entrypoint="sleep 600", submission_id="waits", entrypoint_num_cpus=1)
    options = ["--address", head.address, "--token", TOKEN]

    assert main(["stop", "waits", *options, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["before"], told["status"], told["stopped"]) == ("PENDING", "PENDING", False)

    assert main(["stop", "holds", *options]) == 0
    assert mark.exists()
    assert "holds: stopped" in capsys.readouterr().out
    # The request waited in the cluster: the job is stopped when it begins.
    wait_for(lambda: client.get_job_info("waits").status.value == "STOPPED", "the other job is stopped")

    assert main(["stop", "waist", *options]) == 2
    assert "did you mean 'waits'" in capsys.readouterr().err
    assert main(["logs", "holds", *options]) == 0
    assert "ready" in capsys.readouterr().out
    assert main(["logs", "holds", *options, "--follow"]) == 130  # stopped: no success for CI
    capsys.readouterr()
    assert main(["jobs", *options, "--all", "--json"]) == 0
    assert {"holds", "waits"} <= {job["submission_id"] for job in json.loads(capsys.readouterr().out)}


def test_the_head_is_lost_and_the_same_submit_continues(
    head: Head, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in adaptation with everything on it, started empty; the same command ends as if nothing had happened."""
    changes = {
        "  - {name: slots, type: token, data: {demo: slots, rows: 24}}\n": "",
        "  - {name: same_issue, type: pair, data: {demo: same_issue, rows: 16}}\n": "",
        "pretrain: {tasks: [intent, slots], steps: 6, batch_rows: 8, checkpoint_every: 2}": "pretrain: null",
        "steps: 4, batch_rows: 6, evaluate_every: 2": "steps: 200, batch_rows: 6, evaluate_every: 200, workers: 1",
        "ensemble: {size: 2}": "ensemble: null",
    }
    for name in ("peace", "lost"):
        (home / name).mkdir()
    peace = load_config(small_config(home / "peace", **changes))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as the job's worker has
    try:
        expected = run(peace, launcher="inline")
    finally:
        torch.set_num_threads(threads)
    capsys.readouterr()  # what libraries printed in this process
    file = small_config(home / "lost", **changes)
    run_folder = home / "lost" / "small"
    command = ["submit", str(file), "--address", head.address, "--token", TOKEN]

    assert main([*command, "--detach"]) == 0
    first = capsys.readouterr().out.strip()
    wait_for(lambda: list(run_folder.glob(".cohorts/*/checkpoints/0*[0-9]")), "a checkpoint is there")
    head.kill()
    assert not (run_folder / "adapt" / "intent").exists()
    head.start()

    assert main([*command, "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert (result["submission_id"], result["status"], result["adopted"]) == (first, "SUCCEEDED", False)
    assert fingerprints(run_folder) == fingerprints(peace.run_folder)
    assert "continues where it stopped" in (run_folder / "plan.txt").read_text()

    # Everything is in MLflow; the cluster can go.
    registry = PromptRegistry(f"sqlite:///{home}/lost/mlflow.db")
    assert {one.task for one in registry.list()} == {"intent"}
    with registry.connection.open() as store:
        logged = [r for r in store.search_runs([registry.experiment(store)]) if "task" not in r.data.tags]
        (parent,) = logged  # the record of the interrupted run went into it
        files = {one.path for one in store.list_artifacts(parent.info.run_id, JOURNAL)}
        assert files == {f"{JOURNAL}/{name}" for name in ("run.log", "plan.txt", "plan.json", "events.jsonl")}
        assert UNFINISHED not in parent.data.tags
        assert parent.data.metrics["test.intent"] == expected.rows[0].test

    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["adopted"] is True
    assert main(["jobs", "--address", head.address, "--token", TOKEN]) == 0
    assert str(home / "lost") in capsys.readouterr().out
