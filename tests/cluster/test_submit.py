"""Jobs: adopted rather than sent twice, followed without losing or repeating a line, ended with the right code."""

from __future__ import annotations

import http.server
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from test_parcel import write_run

from cluster import connect as connecting
from cluster import follow as following
from cluster import submit as submitting
from cluster.follow import LineFeed, follow_job
from cluster.launcher import WorkFailed
from pipeline.errors import InputError

LOG = "".join(f"line {n}\n" for n in range(50)) + "the end"


class FakeStatus(str):
    @property
    def value(self) -> str:
        return str(self)

    def is_terminal(self) -> bool:
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


def details(status: str, code: int | None = None) -> Any:
    return SimpleNamespace(status=FakeStatus(status), driver_exit_code=code)


class FakeClient:
    """Jobs in a dictionary; a log whose socket breaks at the given places."""

    def __init__(self, jobs: dict[str, Any] | None = None, breaks: tuple[int, ...] = ()) -> None:
        self.jobs = jobs or {}
        self.breaks = list(breaks)
        self.sent: list[str] = []

    def get_job_info(self, submission_id: str) -> Any:
        if submission_id not in self.jobs:
            raise RuntimeError("Request failed with status code 404: not found.")
        if not self.breaks and self.jobs[submission_id].status == "RUNNING":
            self.jobs[submission_id] = details("SUCCEEDED", 0)
        return self.jobs[submission_id]

    def submit_job(self, *, submission_id: str, **job: Any) -> str:
        if submission_id in self.jobs:
            raise RuntimeError("Request failed with status code 500: Job already exists.")
        self.jobs[submission_id] = details("RUNNING")
        self.sent.append(submission_id)
        return submission_id

    async def tail_job_logs(self, submission_id: str) -> AsyncIterator[str]:
        end = self.breaks.pop(0) if self.breaks else len(LOG)
        for start in range(0, end, 30):
            yield LOG[start : min(start + 30, end)]
        if end < len(LOG):
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_logs(self, submission_id: str) -> str:
        return LOG


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", ["ftp://host:1", "http://", "http://host:port", "auto"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(InputError, match="address"):
        connecting.connect(address)


def test_nobody_there() -> None:
    with pytest.raises(InputError, match="no answer from the Ray cluster"):
        connecting.connect(f"http://127.0.0.1:{free_port()}")


@contextmanager
def a_server(status: int, body: bytes = b"{}") -> Iterator[tuple[str, list[str | None]]]:
    asked: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("token", "reason"), [(None, "asks for a token"), ("wrong", "refuses this token")])
def test_a_cluster_that_wants_another_token(
    token: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # must not win over the address given
    with a_server(401) as (address, asked), pytest.raises(InputError, match=rf"{reason}.*RAY_AUTH_TOKEN"):
        connecting.connect(address, token)
    assert asked == [f"Bearer {token}" if token else None]
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:1"


def test_a_server_that_is_no_ray() -> None:
    with a_server(404) as (address, _), pytest.raises(InputError, match="no Ray cluster answers here"):
        connecting.connect(address)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray head of its own, on ports of its own; ended by its process group."""
    ports = {
        name: free_port()
        for name in (
            "port",
            "dashboard-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "ray-client-server-port",
            "metrics-export-port",
            "node-manager-port",
            "object-manager-port",
        )
    }
    temporary = Path("/tmp") / f"dp{os.getpid()}"  # short: a socket's path has at most 107 characters
    options = ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000", f"--temp-dir={temporary}"]
    options += [f"--{name}={port}" for name, port in ports.items()]
    env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"RAY_AUTH_MODE": "disabled"}
    log = tmp_path_factory.mktemp("head") / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options],
            env=env,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{ports['dashboard-port']}"
        _wait_until_ready(address, process, log)
        yield address
    finally:
        _end(process)
        shutil.rmtree(temporary, ignore_errors=True)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 90
    while True:
        try:
            connecting.connect(address)
            return
        except InputError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)


def _end(process: subprocess.Popen[bytes]) -> None:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)  # Ray's servers outlive SIGTERM by half a minute
        except psutil.NoSuchProcess:
            continue
    process.wait(timeout=20)


def test_a_real_job(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent once, adopted when sent again, and its own exit code comes back."""
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    config = write_run(tmp_path)
    lines: list[str] = []
    entry = "ls sent; python -c 'import cluster, os; print(os.environ[\"WORD\"])'; exit 3"
    first = submitting.submit(config, address=head, env={"WORD": "hello"}, on_line=lines.append, entrypoint=entry)
    assert (first.status, first.exit_code, first.adopted) == ("FAILED", 3, False)
    assert "0-intent" in lines and lines[-1] == "hello"  # Ray's own first line may come after the command's

    entry = "sleep 2; echo done"
    sent = submitting.submit(config, address=head, follow=False, entrypoint=entry)
    lines.clear()
    adopted = submitting.submit(config, address=head, on_line=lines.append, entrypoint=entry)
    assert adopted.submission_id == sent.submission_id
    assert (adopted.status, adopted.exit_code, adopted.adopted) == ("SUCCEEDED", 0, True)
    assert lines[-1] == "done"
    assert lines.count("done") == 1
