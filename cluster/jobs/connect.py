"""The way to a Ray cluster's jobs: an address that answers, a token that it takes, and a client."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from cluster.on_ray import auth
from cluster.on_ray.start import INSTALL
from pipeline.errors import InputError

OnNote = Callable[[str], None]
CONNECT_SECONDS = 5.0
ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Where Ray itself looks for an address; it lets these win over the one in the call."""
TALKATIVE = ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging")


def dashboard_address(given: str | None, env: Mapping[str, str] = os.environ) -> str:
    """The address that a command means: the one given, else a dashboard that Ray's own variables name.

    Raises:
        InputError: neither.
    """
    named = [env[name] for name in ADDRESSES if env.get(name, "").startswith(("http://", "https://"))]
    if given or named:
        return given or named[0]
    raise InputError(
        "no cluster is named",
        where="--address",
        expected="the cluster's dashboard, http://HOST:8265",
        hint="give --address, or set RAY_API_SERVER_ADDRESS",
    )


def connect(address: str, token: str | None = None, *, on_note: OnNote = lambda line: None) -> Any:
    """A Ray `JobSubmissionClient` for the cluster at `address`, after trying that it answers.

    Args:
        address: http(s)://HOST:PORT. RAY_ADDRESS does not override it.
        token: the cluster's; by default the one that `auth.look_for_token` finds.
        on_note: hears what is not wrong but unsafe, or other than it may seem.

    Raises:
        InputError: what is wrong with the address or the token.
    """
    url = address if "://" in address else f"http://{address}"
    host = _reach(address, url)
    found = auth.look_for_token(os.environ, token)
    _warn(address, url, host, found, on_note)
    with _address_as_given():
        try:
            from ray.exceptions import AuthenticationError
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise InputError("Ray is not installed", where="submit", hint=INSTALL) from error

        for name in TALKATIVE:
            logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
        try:
            headers = {"Authorization": f"Bearer {found.value}"} if found is not None else None
            return JobSubmissionClient(url, headers=headers)
        except AuthenticationError as error:
            what = "the Ray cluster asks for a token"
            said = f"none in {auth.PLACES}"
            if found is not None:
                what, said = "the Ray cluster refuses this token", f"the one in {found.source}"
            raise InputError(what, where="address", found=f"{address}, {said}", hint=auth.HINT) from error
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(
                f"no Ray cluster answers here: {str(error).splitlines()[0]}", where="address", found=address
            ) from error


def on_this_machine(client: Any, address: str) -> bool:
    """Whether the cluster's head runs here, so that paths mean the same there.

    A loopback address alone does not tell: `kubectl port-forward` makes a far cluster look like a near one.
    """
    import psutil

    if not _is_loopback(urlsplit(address if "//" in address else f"//{address}").hostname or ""):
        return False
    session = ""
    with suppress(RuntimeError, OSError, ValueError):
        session = str(client._do_request("GET", "/api/version").json().get("session_name") or "")
    if not session:
        return False
    heads = psutil.process_iter(["cmdline"])
    return any(_same_files(head.pid) for head in heads if session in " ".join(head.info["cmdline"] or ()))


def _same_files(pid: int) -> bool:
    """Whether a process sees the file system that we see: one in a container does not."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except PermissionError:
        return False
    except OSError:
        return not os.path.exists("/proc/self/ns/mnt")  # no Linux: containers have a machine of their own there


def _reach(address: str, url: str) -> str:
    """The host of an address at which something listens."""
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
    return host


def _warn(address: str, url: str, host: str, token: auth.Token | None, on_note: OnNote) -> None:
    for name in ADDRESSES:
        if os.environ.get(name, address) not in (address, url):
            on_note(f"{name} is {os.environ[name]}; the address given counts: {address}")
    if token is not None and url.startswith("http://") and not _is_loopback(host):
        on_note(f"the token goes to {host} unencrypted; put the dashboard behind https, or forward its port")
    if token is not None and token.open_to_others:
        on_note(f"other users of this machine can read the token in {token.file}: chmod 600 {token.file}")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextmanager
def _address_as_given() -> Iterator[None]:
    """Ray lets these variables override the address in the call, as inside every Ray job."""
    before = {name: os.environ.pop(name) for name in ADDRESSES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
