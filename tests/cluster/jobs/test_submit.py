"""Jobs: adopted rather than sent twice, followed without losing or repeating a line, ended with the right code."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from configs import write_run

from cluster.jobs import follow as following
from cluster.jobs import submit as submitting
from cluster.jobs.follow import LineFeed, follow_job
from cluster.launcher import WorkFailed
from pipeline.errors import InputError
from tests.cluster.jobs.fakes import LOG, FakeClient, details


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAUSE", 0.0)


def test_lines_come_once_however_the_log_is_cut() -> None:
    dice = random.Random(0)
    for _ in range(50):
        lines: list[str] = []
        feed = LineFeed(lines.append)
        for _ in range(4):
            feed.restart()
            end, position = dice.randrange(len(LOG)), 0
            while position < end:
                step = dice.randrange(1, 40)
                feed.feed(LOG[position : min(position + step, end)])
                position += step
        feed.restart()
        feed.feed(LOG)
        feed.finish()
        assert lines == LOG.split("\n")


def test_a_broken_socket_loses_and_repeats_nothing(no_pause: None) -> None:
    lines: list[str] = []
    client = FakeClient({"job": details("RUNNING")}, breaks=(0, 95, 200, 17))
    assert follow_job(client, "job", lines.append).status == "SUCCEEDED"
    assert lines == LOG.split("\n")


def test_a_cluster_that_is_gone_is_given_up(no_pause: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "GIVE_UP", 0.05)
    client = FakeClient({"job": details("RUNNING")}, breaks=(10,) * 10_000)
    monkeypatch.setattr(client, "get_job_info", lambda submission_id: (_ for _ in ()).throw(ConnectionError("down")))
    with pytest.raises(WorkFailed, match=r"ConnectionLost.*may still run"):
        follow_job(client, "job", lambda line: None)


def test_a_head_that_has_forgotten_the_job_is_told_at_once(no_pause: None) -> None:
    with pytest.raises(WorkFailed, match=r"JobForgotten.*restarted.*continues from its last checkpoint"):
        follow_job(FakeClient(), "job", lambda line: None)


def test_a_log_whose_end_is_lost_with_its_node_does_not_hold_up(
    no_pause: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(submission_id: str) -> str:
        raise RuntimeError("status code 500: no agent\nTraceback")

    client = FakeClient({"job": details("FAILED", 3)}, breaks=(16,))
    monkeypatch.setattr(client, "get_job_logs", gone)
    lines: list[str] = []
    notes: list[str] = []
    assert follow_job(client, "job", lines.append, notes.append).driver_exit_code == 3
    assert lines == LOG[:16].split("\n")
    assert notes == ["the end of the log is lost (status code 500: no agent); MLflow has the run's own log"]


def test_why_a_job_waits_is_told_once_for_each_reason(no_pause: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [details("PENDING", message=m) for m in ("no room", "no room", "setting up")] + [details("SUCCEEDED")]
    client = FakeClient(breaks=(0,) * 3)
    monkeypatch.setattr(client, "get_job_info", lambda submission_id: answers.pop(0))
    notes: list[str] = []
    follow_job(client, "job", lambda line: None, notes.append)
    assert [note.partition(" s: ")[2] for note in notes] == ["no room", "setting up"]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", 2, 2),
        ("FAILED", None, 1),
        ("FAILED", -9, 1),
        ("STOPPED", None, 130),
        ("RUNNING", None, 0),
    ],
)
def test_exit_codes(status: str, code: int | None, expected: int) -> None:
    assert submitting.exit_code(details(status, code)) == expected


@pytest.mark.parametrize(
    ("known", "expected", "adopted"),
    [
        ({}, "run-1", False),
        ({"run-1": "RUNNING"}, "run-1", True),
        ({"run-1": "PENDING"}, "run-1", True),
        ({"run-1": "SUCCEEDED"}, "run-1", True),
        ({"run-1": "FAILED"}, "run-1-2", False),
        ({"run-1": "STOPPED", "run-1-2": "FAILED"}, "run-1-3", False),
        ({"run-1": "FAILED", "run-1-2": "PENDING"}, "run-1-2", True),
    ],
)
def test_the_same_run_is_adopted_and_a_failed_one_follows_itself(
    known: dict[str, str], expected: str, adopted: bool
) -> None:
    client = FakeClient({name: details(status) for name, status in known.items()}, breaks=(1,))
    assert submitting._send(client, "run-1", {}) == (expected, adopted)
    assert client.sent == ([] if adopted else [expected])


def test_a_job_that_only_has_the_name_is_not_adopted() -> None:
    client = FakeClient({"run": details("RUNNING", entrypoint="exec something else")}, breaks=(1,))
    with pytest.raises(InputError, match=r"another job has this run's name.*--anew"):
        submitting._send(client, "run", {"entrypoint": "exec run"})
    client = FakeClient({"run": details("RUNNING", entrypoint="exec run")}, breaks=(1,))
    assert submitting._send(client, "run", {"entrypoint": "exec run"}) == ("run", True)


@pytest.mark.parametrize("status", ["PENDING", "SUCCEEDED", "FAILED"])
def test_anew_sends_another_under_the_next_name(status: str) -> None:
    client = FakeClient({"run": details(status)})
    assert submitting._send(client, "run", {}, anew=True) == ("run-2", False)


def test_anew_does_not_send_a_second_beside_one_that_runs() -> None:
    client = FakeClient({"run": details("RUNNING")}, breaks=(1,))
    with pytest.raises(InputError, match=r"job is running.*deepprompt stop run"):
        submitting._send(client, "run", {}, anew=True)


def test_a_job_that_waits_for_too_long_is_adopted_with_a_word_about_it() -> None:
    notes: list[str] = []
    for began, fragment in ((1, "--anew sends another"), (time.time() * 1000, "(PENDING): adopted")):
        client = FakeClient({"run": details("PENDING", start_time=began)})
        assert submitting._send(client, "run", {}, on_note=notes.append) == ("run", True)
        assert fragment in notes.pop()


@pytest.mark.parametrize("arrived", [True, False])
def test_a_connection_lost_in_sending_is_asked_about_before_it_is_sent_again(
    arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient(breaks=(1,))
    send, calls = client.submit_job, []

    def breaks(*, submission_id: str, **job: Any) -> str:
        calls.append(submission_id)
        if len(calls) > 1 or arrived:
            send(submission_id=submission_id)
        if len(calls) == 1:
            raise ConnectionError("reset by peer")
        return submission_id

    monkeypatch.setattr(client, "submit_job", breaks)
    assert submitting._send(client, "run", {}) == ("run", arrived)
    assert client.sent == ["run"]


def test_a_connection_that_always_breaks_in_sending_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(**job: Any) -> str:
        raise ConnectionError("reset by peer")

    client = FakeClient()
    monkeypatch.setattr(client, "submit_job", breaks)
    with pytest.raises(InputError, match=r"connection broke.*the same command finds the job"):
        submitting._send(client, "run", {})


def test_a_job_sent_by_another_in_the_same_moment_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient({"run": details("PENDING")})
    answers = iter([None, details("PENDING")])
    monkeypatch.setattr(submitting, "known_job", lambda client, name: next(answers))
    assert submitting._send(client, "run", {}) == ("run", True)


def test_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    class Client(FakeClient):
        def submit_job(self, *, submission_id: str, **job: Any) -> str:
            sent.update(job, files=sorted(path.name for path in Path(job["runtime_env"]["working_dir"]).iterdir()))
            return super().submit_job(submission_id=submission_id)

    monkeypatch.setattr(submitting, "connect", lambda address, token, on_note: Client())
    arguments = ["--set", "tasks.0.columns={text: my text}"]
    result = submitting.submit(
        write_run(tmp_path), address="http://x:1", arguments=arguments, env={"HF_HUB_OFFLINE": "1"}, follow=False
    )
    assert result.submission_id.startswith("my-run-")
    assert sent["files"] == ["demo.yaml", "sent"]
    assert sent["entrypoint"] == (
        "exec python -m workflows.cli run demo.yaml --launcher ray --set 'tasks.0.columns={text: my text}'"
    )
    variables = sent["runtime_env"]["env_vars"]
    assert (variables["RAY_JOB_STOP_WAIT_TIME_S"], variables["HF_HUB_OFFLINE"]) == ("120", "1")
    assert [Path(folder).name for folder in sent["runtime_env"]["py_modules"]] == ["pipeline", "workflows", "cluster"]
