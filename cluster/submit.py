"""Sends a run to a Ray cluster as a job. The same run sent twice is one job."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster import auth
from cluster.follow import OnLine, follow_job
from cluster.parcel import check_lasting, pack, packages, read_config, submission_name
from cluster.ray_start import INSTALL
from pipeline.errors import InputError

CONNECT_SECONDS = 5.0
STOPPED = 130
TALKATIVE = ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging")
SETTINGS = {
    "RAY_JOB_STOP_WAIT_TIME_S": "60",  # Ray's own 3 s are too few to write a checkpoint
    "PYTHONUNBUFFERED": "1",
}


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
    working_dir: Path | None = None,
    env: Mapping[str, str] | None = None,
    follow: bool = True,
    on_line: OnLine = print,
    token: str | None = None,
    code_version: str = "",
    installed: bool = False,
    entrypoint: str | None = None,
) -> JobResult:
    """Runs a config on a Ray cluster.

    Args:
        config_path: the config; it travels with the local folders it names, when they are small.
        address: the cluster's dashboard, http(s)://HOST:PORT. RAY_ADDRESS does not override it.
        arguments: further arguments of `deepprompt run`, such as `["--set", "adapt.steps=100"]`.
        working_dir: send this folder as it is instead; it holds the config.
        env: environment variables of the job.
        follow: wait for the end and hand the log to `on_line`; else return when the job is sent.
        token: the cluster's token; by default the one Ray itself would use.
        code_version: what tells two versions of our code apart; part of the job's name.
        installed: the cluster has our packages; otherwise they travel with the job.
        entrypoint: a shell command to run in place of `deepprompt run`.

    Raises:
        InputError: no cluster at the address, it refuses the token, or the config cannot be sent.
        WorkFailed: the connection was lost for good while following.
    """
    config = read_config(config_path)
    check_lasting(config, arguments, str(config_path))
    with tempfile.TemporaryDirectory() as temporary:
        parcel = (working_dir or Path(temporary)).absolute()
        sent = config_path.absolute() if working_dir else pack(config_path, parcel)
        if not sent.is_relative_to(parcel):
            raise InputError(
                "the config must lie in the folder that is sent", where=str(config_path), found=working_dir
            )
        command = entrypoint or _command(sent.relative_to(parcel), arguments)
        client = connect(address, token)
        job = {
            "entrypoint": command,
            "runtime_env": {
                "working_dir": str(parcel),
                "env_vars": {**SETTINGS, **(env or {})},
                **({} if installed else {"py_modules": packages()}),
            },
        }
        name = submission_name(parcel, config.get("name", "run"), [command, code_version])
        submission_id, adopted = _send(client, name, job)
    details = follow_job(client, submission_id, on_line) if follow else client.get_job_info(submission_id)
    return JobResult(submission_id, str(details.status.value), exit_code(details), adopted)


def exit_code(details: Any) -> int:
    """The exit code a caller should end with for a job: the run's own where Ray knows it."""
    status = str(details.status.value)
    if status == "FAILED":
        return details.driver_exit_code if (details.driver_exit_code or 0) > 0 else 1
    return STOPPED if status == "STOPPED" else 0


def connect(address: str, token: str | None = None) -> Any:
    """A Ray `JobSubmissionClient` for the cluster at `address`, after trying that it answers.

    Raises:
        InputError: what is wrong with the address or the token.
    """
    url = address if "://" in address else f"http://{address}"
    parts = urlsplit(url)
    wrong = InputError(
        "this is not the address of a Ray dashboard", where="address", found=address, expected="http://HOST:8265"
    )
    try:
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("http", "https") or not host:
        raise wrong
    try:
        # Ray's client has no time limit of its own.
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"no answer from the Ray cluster ({error})",
            where="address",
            found=address,
            hint="the dashboard's port is 8265 unless it was changed; `kubectl port-forward` reaches one in Kubernetes",
        ) from error
    found = auth.find_token(os.environ, token)
    with _address_as_given():
        try:
            from ray.exceptions import AuthenticationError
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise InputError("Ray is not installed", where="submit", hint=INSTALL) from error

        for name in TALKATIVE:
            logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
        try:
            return JobSubmissionClient(url, headers={"Authorization": f"Bearer {found}"} if found else None)
        except AuthenticationError as error:
            reason = "refuses this token" if found else "asks for a token"
            raise InputError(f"the Ray cluster {reason}", where="address", found=address, hint=auth.HINT) from error
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(
                f"no Ray cluster answers here: {str(error).splitlines()[0]}", where="address", found=address
            ) from error


def _send(client: Any, name: str, job: Mapping[str, Any]) -> tuple[str, bool]:
    """Submits under `name`, or adopts the job that has it; one that failed or was stopped is followed by another."""
    attempt = 1
    while True:
        submission_id = name if attempt == 1 else f"{name}-{attempt}"
        known = _known(client, submission_id)
        if known is None:
            try:
                return client.submit_job(submission_id=submission_id, **job), False
            except (RuntimeError, ValueError) as error:
                if "already exists" not in str(error):
                    raise InputError(
                        f"the Ray cluster refuses the job: {str(error).splitlines()[0]}", where="submit"
                    ) from error
                continue  # sent by someone else in between
        if str(known.status.value) not in ("FAILED", "STOPPED"):
            return submission_id, True
        attempt += 1


def _known(client: Any, submission_id: str) -> Any:
    try:
        return client.get_job_info(submission_id)
    except RuntimeError as error:
        if "404" in str(error):
            return None
        raise


def _command(config: Path, arguments: Sequence[str]) -> str:
    # Ray gives the command to a shell; `exec` lets signals and the exit code pass it by.
    words = ["python", "-m", "workflows.cli", "run", str(config), "--launcher", "ray", *arguments]
    return "exec " + shlex.join(words)


@contextmanager
def _address_as_given() -> Iterator[None]:
    """Ray lets these variables override the address in the call, as inside every Ray job."""
    names = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
