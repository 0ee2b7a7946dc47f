"""Sends a run to a Ray cluster as a job. The same run sent twice is one job."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.jobs.connect import OnNote, connect
from cluster.jobs.follow import OnLine, follow_job
from cluster.jobs.parcel import (
    BACKBONE,
    check_lasting,
    pack,
    packages,
    packages_version,
    read_config,
    result_places,
    submission_name,
    versions_of,
)
from pipeline.errors import InputError

STOPPED = 130
GRACE = 120
"""Seconds that a stopped job has to write what it has done; Ray's own 3 are too few."""
START_SECONDS = 900
"""After so long Ray gives up a job that does not start; one that still waits was lost in sending (ray#62766)."""
RUN, STORAGE, REGISTRY = "deepprompt.run", "deepprompt.storage", "deepprompt.registry"
"""What is told of a job beside its command, for `deepprompt jobs`."""
SETTINGS = {"RAY_JOB_STOP_WAIT_TIME_S": str(GRACE), "PYTHONUNBUFFERED": "1"}
_TRIES = 3


@dataclass(frozen=True)
class JobResult:
    """How a job stands.

    Attributes:
        submission_id: Ray's name of the job.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        exit_code: the run's own when it has ended (130 when it was stopped), 0 while it goes on.
        adopted: the job was there already, sent by an earlier call.
    """

    submission_id: str
    status: str
    exit_code: int
    adopted: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def submit(
    config_path: Path,
    *,
    address: str,
    arguments: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    shared: Sequence[Path] = (),
    follow: bool = True,
    on_line: OnLine = print,
    on_note: OnNote = lambda line: None,
    on_sent: Callable[[str], None] = lambda submission_id: None,
    token: str | None = None,
    code_version: str = "",
    installed: bool = False,
    anew: bool = False,
    entrypoint: str | None = None,
) -> JobResult:
    """Runs a config on a Ray cluster.

    Args:
        config_path: the config; it travels with the local folders it names, when they are small.
        address: the cluster's dashboard, http(s)://HOST:PORT. RAY_ADDRESS does not override it.
        arguments: further arguments of `deepprompt run`, such as `["--set", "adapt.steps=100"]`.
        config: what the file says, where it is known better than by reading it: with changes.
        env: environment variables of the job; who may see the cluster's dashboard may see them. They do not name it.
        shared: folders that every node sees under the same path; what lies in them does not travel.
        follow: wait for the end and hand the log to `on_line`; else return when the job is sent.
        on_note: hears where the data go, and what is told while the job waits.
        on_sent: hears the job's name as soon as the cluster has it.
        token: the cluster's token; by default the one Ray itself would use.
        code_version: what tells two versions of the caller's code apart; that of our packages counts besides.
        installed: the cluster has our packages; otherwise they travel with the job.
        anew: send another job even though this run has one that has ended or waits.
        entrypoint: a shell command to run in place of `deepprompt run`.

    Raises:
        InputError: no cluster at the address, it refuses the token, or the config cannot be sent.
        WorkFailed: the connection was lost for good while following, or the cluster has forgotten the job.
    """
    config = read_config(config_path) if config is None else config
    check_lasting(config, arguments, str(config_path))
    with tempfile.TemporaryDirectory() as temporary:
        parcel = pack(config_path, Path(temporary), shared, config)
        for place in parcel.places:
            on_note(f"{place.what}: {place.named} {place.words}")
            if place.what == BACKBONE and place.how == "sent":
                on_note("its prompts will name a folder that ends with the job: better a hub id or a shared folder")
        command = entrypoint or _command(parcel.config.relative_to(parcel.folder), arguments)
        client = connect(address, token, on_note=on_note)
        storage, registry = result_places(config, arguments)
        job = {
            "entrypoint": command,
            "metadata": {RUN: str(config.get("name", "run")), STORAGE: storage, REGISTRY: _without_password(registry)},
            "runtime_env": {
                "working_dir": str(parcel.folder),
                "env_vars": {**SETTINGS, **(env or {})},
                **({} if installed else {"py_modules": packages()}),
            },
        }
        code = [code_version, "" if installed else packages_version()]
        name = submission_name(parcel.folder, config.get("name", "run"), [command, *code, *versions_of(parcel.places)])
        submission_id, adopted = _send(client, name, job, anew=anew, on_note=on_note)
    on_sent(submission_id)
    details = follow_job(client, submission_id, on_line, on_note) if follow else client.get_job_info(submission_id)
    return JobResult(submission_id, str(details.status.value), exit_code(details), adopted)


def exit_code(details: Any) -> int:
    """The exit code a caller should end with for a job: the run's own where Ray knows it."""
    status = str(details.status.value)
    if status == "FAILED":
        return details.driver_exit_code if (details.driver_exit_code or 0) > 0 else 1
    return STOPPED if status == "STOPPED" else 0


def known_job(client: Any, submission_id: str) -> Any:
    """Ray's `JobDetails` of a job, or None where the cluster has none of this name."""
    try:
        return client.get_job_info(submission_id)
    except RuntimeError as error:
        if "404" in str(error):
            return None
        raise


def _send(
    client: Any, name: str, job: Mapping[str, Any], *, anew: bool = False, on_note: OnNote = lambda line: None
) -> tuple[str, bool]:
    """Submits under `name`, or adopts the job that has it; one that failed or was stopped is followed by another."""
    attempt, lost = 1, 0
    while True:
        submission_id = name if attempt == 1 else f"{name}-{attempt}"
        known = known_job(client, submission_id)
        if known is None:
            try:
                sent = str(client.submit_job(submission_id=submission_id, **job))
            except OSError as error:  # nobody knows whether it arrived: asked before it is sent again
                lost += 1
                if lost == _TRIES:
                    what = f"the connection broke while the job was sent ({error})"
                    raise InputError(
                        what, where="submit", hint="the same command finds the job if it arrived"
                    ) from error
                continue
            except (RuntimeError, ValueError) as error:
                if "already exists" not in str(error):
                    raise InputError(
                        f"the Ray cluster refuses the job: {str(error).splitlines()[0]}", where="submit"
                    ) from error
                continue  # sent by someone else in between
            on_note(f"sent as job {sent}")
            return sent, False
        status = str(known.status.value)
        if anew and status == "RUNNING":
            raise InputError(
                "this run's job is running",
                where="--anew",
                found=submission_id,
                hint=f"deepprompt stop {submission_id}",
            )
        if status not in ("FAILED", "STOPPED") and not anew:
            _check_same(known, submission_id, job)
            on_note(f"this run is job {submission_id} already ({status}): adopted{_waits_long(known, status)}")
            return submission_id, True
        attempt += 1


def _check_same(known: Any, submission_id: str, job: Mapping[str, Any]) -> None:
    """A job that only has the name is not adopted."""
    there, here = getattr(known, "entrypoint", None), job.get("entrypoint")
    if there is not None and here is not None and there != here:
        raise InputError(
            "another job has this run's name",
            where=submission_id,
            found=there,
            expected=here,
            hint="--anew sends this one under the next name",
        )


def _waits_long(known: Any, status: str) -> str:
    began = getattr(known, "start_time", None)
    seconds = time.time() - began / 1000 if began else 0.0
    if status != "PENDING" or seconds < START_SECONDS:
        return ""
    return f"; it has waited {seconds / 60:.0f} minutes and may never start: --anew sends another"


def _without_password(uri: str) -> str:
    from pipeline.registry.connection import shown

    return shown(uri)


def _command(config: Path, arguments: Sequence[str]) -> str:
    # Ray gives the command to a shell; `exec` lets signals and the exit code pass it by.
    words = ["python", "-m", "workflows.cli", "run", str(config), "--launcher", "ray", *arguments]
    return "exec " + shlex.join(words)
