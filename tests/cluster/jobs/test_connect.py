"""The way to a cluster: an address that answers, a token that fits, a word about what is unsafe."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.jobs import connect as connecting
from cluster.jobs.connect import dashboard_address, on_this_machine
from cluster.on_ray.auth import look_for_token
from pipeline.errors import InputError
from tests.cluster.jobs.heads import free_port


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


def test_the_address_is_the_one_given_or_a_dashboard_of_rays_variables() -> None:
    env = {"RAY_ADDRESS": "http://b:8265"}
    assert dashboard_address("http://a:8265", env) == "http://a:8265"
    assert dashboard_address(None, env) == "http://b:8265"
    assert dashboard_address(None, {**env, "RAY_API_SERVER_ADDRESS": "https://c"}) == "https://c"
    with pytest.raises(InputError, match=r"--address.*RAY_API_SERVER_ADDRESS"):
        dashboard_address(None, {"RAY_ADDRESS": "auto"})  # for drivers, not for jobs


def test_every_place_of_a_token_is_told_where_none_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with a_server(401) as (address, _), pytest.raises(InputError) as caught:
        connecting.connect(address)
    for place in ("--token", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"):
        assert place in str(caught.value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with (
        a_server(401) as (address, _),
        pytest.raises(InputError, match=r"refuses this token.*the one in RAY_AUTH_TOKEN"),
    ):
        connecting.connect(address)


def test_what_is_unsafe_or_other_than_it_seems_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:1")
    (tmp_path / ".ray").mkdir()
    file = tmp_path / ".ray" / "auth_token"
    file.write_text("abc\n")
    file.chmod(0o644)  # as Ray leaves it
    notes: list[str] = []
    with a_server(404) as (address, _), pytest.raises(InputError):
        connecting.connect(address, on_note=notes.append)
    assert notes[0].startswith("RAY_ADDRESS is http://elsewhere:1; the address given counts")
    assert f"chmod 600 {file}" in notes[1] and len(notes) == 2
    file.chmod(0o600)
    found = look_for_token({})
    assert found is not None and not found.open_to_others
    notes.clear()
    monkeypatch.delenv("RAY_ADDRESS")
    connecting._warn("http://far:1", "http://far:1", "far", found, notes.append)
    assert notes == ["the token goes to far unencrypted; put the dashboard behind https, or forward its port"]
    connecting._warn("https://far", "https://far", "far", found, notes.append)
    assert len(notes) == 1


def test_a_forwarded_port_is_not_taken_for_a_cluster_of_this_machine() -> None:
    """The head is looked for among this machine's processes; a loopback address alone says nothing."""

    def client(session: str) -> Any:
        answer = SimpleNamespace(json=lambda: {"session_name": session})
        return SimpleNamespace(_do_request=lambda method, endpoint: answer)

    # In two pieces, so that the test's own command line does not hold it.
    session = "session_2026_" + str(os.getpid())
    program = [sys.executable, "-c", "import sys; sys.stdin.read()", f"--session-name={session}"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as head:
        assert on_this_machine(client(session), "http://localhost:8265")
        assert not on_this_machine(client(session), "http://10.0.0.1:8265")
        assert not on_this_machine(client("session_of_another"), "http://127.0.0.1:8265")
        assert not on_this_machine(client(""), "http://127.0.0.1:8265")
        head.communicate()
