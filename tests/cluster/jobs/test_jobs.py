"""Jobs as people look at them, and what stopping one really came to."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.jobs import manage
from cluster.jobs.manage import find_job, list_jobs, read_log, stop_job
from cluster.jobs.submit import REGISTRY, RUN, STORAGE
from pipeline.errors import InputError
from tests.cluster.jobs.fakes import LOG, FakeClient, details


class Stoppable(FakeClient):
    """A client whose one job goes through `states`, one at each look; None keeps the last."""

    def __init__(self, *states: str, **facts: Any) -> None:
        super().__init__()
        self.states, self.facts, self.asked = list(states), facts, 0

    def get_job_info(self, submission_id: str) -> Any:
        if submission_id != "job":
            raise RuntimeError("status code 404")
        return details(self.states.pop(0) if len(self.states) > 1 else self.states[0], **self.facts)

    def stop_job(self, submission_id: str) -> bool:
        self.asked += 1
        return True  # whatever happens: this is how Ray answers


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manage, "PAUSE", 0.0)
    monkeypatch.setattr(manage, "PENDING_SECONDS", 0.05)
    monkeypatch.setattr(manage, "LATE", 0.05)


def test_ours_are_told_with_their_places_the_newest_first() -> None:
    told = {RUN: "demo", STORAGE: "/shared", REGISTRY: "http://mlflow"}
    env = {"env_vars": {"TOKEN": "secret"}}
    known = {
        "old": details("FAILED", 3, start_time=1000, end_time=4000, metadata=told, message="it failed\nTraceback"),
        "new": details("RUNNING", start_time=9000, runtime_env=env),
        "driver": details("RUNNING"),
    }
    client = FakeClient(known)
    monkey = client.list_jobs()
    monkey[2].submission_id = None  # a driver that nobody submitted
    client.list_jobs = lambda: monkey  # type: ignore[method-assign]
    new, old = list_jobs(client)
    assert (old.submission_id, old.run, old.exit_code, old.seconds) == ("old", "demo", 3, 3.0)
    assert (old.storage, old.registry, old.message) == ("/shared", "http://mlflow", "it failed")
    assert (new.submission_id, new.run, new.exit_code, new.ended) == ("new", "", None, None)
    assert "secret" not in str(new.as_json())


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    client = FakeClient({"demo-1234": details("SUCCEEDED"), "other-99": details("SUCCEEDED")})
    with pytest.raises(InputError, match=r"no such job.*demo-1234, other-99.*did you mean 'demo-1234'"):
        find_job(client, "demo-1235")
    with pytest.raises(InputError, match="it has no jobs, or its head was restarted"):
        find_job(FakeClient(), "demo-1235")


def test_a_log_that_went_with_its_node_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient()
    assert read_log(client, "job") == LOG.split("\n")

    def gone(submission_id: str) -> str:
        raise RuntimeError("status code 500")

    monkeypatch.setattr(client, "get_job_logs", gone)
    with pytest.raises(InputError, match=r"cannot be read.*MLflow"):
        read_log(client, "job")


def test_a_running_job_is_stopped_when_it_has_ended() -> None:
    client = Stoppable("RUNNING", "RUNNING", "RUNNING", "STOPPED")
    notes: list[str] = []
    found = stop_job(client, "job", on_note=notes.append)
    assert (found.before, found.status, found.stopped, found.said) == ("RUNNING", "STOPPED", True, "stopped")
    assert client.asked == 1 and "3 s" in notes[0]  # Ray's own grace: this job was not sent by us


def test_the_grace_is_the_one_that_the_job_was_sent_with() -> None:
    client = Stoppable("RUNNING", "STOPPED", runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}})
    notes: list[str] = []
    stop_job(client, "job", on_note=notes.append)
    assert notes == ["asked to stop; the run has 120 s to write what it has done"]


def test_a_pending_job_is_not_said_to_be_stopped() -> None:
    """Ray answers True and does nothing (ray#58353)."""
    found = stop_job(Stoppable("PENDING"), "job")
    assert (found.status, found.stopped) == ("PENDING", False)
    assert "NOT stopped" in found.said and "--anew" in found.said
    assert stop_job(Stoppable("PENDING"), "job", wait=False).stopped is False  # nor where nobody waits


def test_a_pending_job_that_begins_is_stopped_then() -> None:
    found = stop_job(Stoppable("PENDING", "PENDING", "RUNNING", "STOPPED"), "job")
    assert (found.before, found.status, found.stopped) == ("PENDING", "STOPPED", True)


@pytest.mark.parametrize(
    ("states", "status", "said"),
    [
        (("SUCCEEDED",), "SUCCEEDED", "had ended already"),
        (("RUNNING", "SUCCEEDED"), "SUCCEEDED", "ended by itself"),
    ],
)
def test_a_job_that_has_ended_is_no_failure(states: tuple[str, ...], status: str, said: str) -> None:
    found = stop_job(Stoppable(*states), "job")
    assert (found.status, found.stopped) == (status, True) and said in found.said


def test_a_job_that_does_not_end_is_told() -> None:
    job = Stoppable("RUNNING", runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "0"}})
    found = stop_job(job, "job")
    assert not found.stopped and "still runs" in found.said
    assert stop_job(job, "job", wait=False).said.startswith("asked to stop")
