"""The jobs of a cluster: which there are, what they say, and how they are stopped."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from cluster.jobs.connect import OnNote
from cluster.jobs.submit import GRACE, REGISTRY, RUN, STORAGE, exit_code, known_job
from pipeline.errors import InputError, nearest

PENDING_SECONDS = 10.0
"""How long a job that has not begun may take to be stopped before we say that it was not."""
LATE = 15.0
"""Seconds beyond its grace that a job may take to be told as stopped."""
PAUSE = 0.5


@dataclass(frozen=True)
class Job:
    """One job as people look at it.

    Attributes:
        submission_id: Ray's name of it. run: the config's name, "" for a job that is not ours. status: as Ray has it.
        exit_code: the run's own when it has ended, else None. began, ended: seconds since 1970.
        storage, registry: where the run's results are. message: what Ray says about the status, its first line.
    """

    submission_id: str
    run: str
    status: str
    exit_code: int | None
    began: float | None
    ended: float | None
    storage: str
    registry: str
    message: str

    @property
    def seconds(self) -> float:
        """How long it has run, waiting included."""
        return max(0.0, (self.ended or time.time()) - self.began) if self.began else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain data. The environment of a job is not in it: it may hold passwords."""
        return {**asdict(self), "seconds": round(self.seconds, 1)}


@dataclass(frozen=True)
class Stop:
    """What stopping a job came to.

    Attributes:
        before, status: of the job, before and now. stopped: it does not run now and will not.
        said: what happened, in words.
    """

    submission_id: str
    before: str
    status: str
    stopped: bool
    said: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def list_jobs(client: Any) -> list[Job]:
    """All submitted jobs that the cluster knows, the newest first."""
    found = [_job(details) for details in client.list_jobs() if details.submission_id]
    return sorted(found, key=lambda job: job.began or 0.0, reverse=True)


def find_job(client: Any, submission_id: str) -> Any:
    """Ray's `JobDetails` of a job.

    Raises:
        InputError: there is none of this name, with the nearest there is.
    """
    details = known_job(client, submission_id)
    if details is not None:
        return details
    names = [job.submission_id for job in list_jobs(client)]
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    raise InputError(
        "the cluster has no such job",
        where="ID",
        found=submission_id,
        expected=listed or "none: it has no jobs, or its head was restarted and has forgotten them",
        nearest=nearest(submission_id, names),
    )


def read_log(client: Any, submission_id: str) -> list[str]:
    """The log of a job up to now.

    Raises:
        InputError: there is none to be had.
    """
    try:
        return str(client.get_job_logs(submission_id) or "").splitlines()
    except RuntimeError as error:
        hint = "the log lies on the job's node; MLflow has the run's own log as far as the run got"
        reason = str(error).splitlines()[0]
        raise InputError(f"the log cannot be read: {reason}", where=submission_id, hint=hint) from error


def stop_job(client: Any, submission_id: str, *, wait: bool = True, on_note: OnNote = lambda line: None) -> Stop:
    """Stops a job, and tells truly whether it did.

    A running one gets SIGTERM and as long as its grace to write a checkpoint. One that has not begun cannot be stopped:
    Ray says that it was and does nothing (ray#58353).

    Args:
        wait: until it has ended; else only ask.

    Raises:
        InputError: there is no such job.
    """
    details = find_job(client, submission_id)
    before = str(details.status.value)
    if details.status.is_terminal():
        return Stop(submission_id, before, before, True, f"the job had ended already ({before})")
    client.stop_job(submission_id)
    grace = _grace(details)
    if wait and before == "RUNNING":
        on_note(f"asked to stop; the run has {grace:.0f} s to write what it has done")
    limit = time.monotonic() + (grace + LATE if before == "RUNNING" else PENDING_SECONDS)
    while wait or before == "PENDING":
        details = find_job(client, submission_id)
        now = str(details.status.value)
        if now == "RUNNING" and before == "PENDING" and limit < time.monotonic() + grace:
            limit = time.monotonic() + grace + LATE  # it began after all, and the request waited for it
        if details.status.is_terminal():
            done = "stopped" if now == "STOPPED" else f"the job ended by itself before it was stopped ({now})"
            return Stop(submission_id, before, now, True, done)
        if time.monotonic() > limit:
            return Stop(submission_id, before, now, False, _not_stopped(now, grace))
        time.sleep(PAUSE)
    return Stop(submission_id, before, before, False, f"asked to stop; the run has {grace:.0f} s to end")


def _not_stopped(status: str, grace: float) -> str:
    if status != "PENDING":
        return f"the job still runs, {grace:.0f} s after it was asked to stop; ask again, or look at its node"
    return (
        "NOT stopped: the job has not begun, and Ray stops only what runs (ray#58353). It stays PENDING until the "
        "cluster has room, and stops as soon as it begins; without room Ray fails it after 15 minutes. To send the run "
        "again at once: deepprompt submit … --anew"
    )


def _grace(details: Any) -> float:
    """Seconds between SIGTERM and SIGKILL, as the job was sent."""
    variables = (getattr(details, "runtime_env", None) or {}).get("env_vars") or {}
    try:
        return float(variables.get("RAY_JOB_STOP_WAIT_TIME_S", 3))  # 3: Ray's own
    except ValueError:
        return float(GRACE)


def _job(details: Any) -> Job:
    told = details.metadata or {}
    ended = details.status.is_terminal()
    message = (details.message or "").strip().splitlines()
    return Job(
        submission_id=str(details.submission_id),
        run=told.get(RUN, ""),
        status=str(details.status.value),
        exit_code=exit_code(details) if ended else None,
        began=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        storage=told.get(STORAGE, ""),
        registry=told.get(REGISTRY, ""),
        message=message[0] if message else "",
    )
