"""Ray heads of their own for tests of jobs: on ports of their own, with a token, ended for good."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.jobs.connect import connect
from pipeline.errors import InputError

PORTS = (
    *("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "ray-client-server-port"),
    *("metrics-export-port", "node-manager-port", "object-manager-port"),
)
ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Head:
    """A head that can be killed and started again at the same address.

    Args:
        folder: for its log. token: asked of everybody, as Ray 2.60 does by default.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.token, self._log = token, folder / "head.log"
        self._temporary = Path("/tmp") / f"dp{os.getpid()}"  # short: a socket's path has at most 107 characters
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._ports['dashboard-port']}"

    def start(self) -> None:
        """Starts it, again at the address that it had. The first time at ports that nobody took between the look for
        free ones and the start: after a failure at others."""
        if self._ports:
            assert self._starts(), self._log.read_text()
            return
        for _ in range(3):
            self._ports = {name: free_port() for name in PORTS}
            if self._starts():
                return
            self.kill()
        raise AssertionError(self._log.read_text())

    def _starts(self) -> bool:
        options = ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000"]
        options += [f"--temp-dir={self._temporary}", "--node-ip-address=127.0.0.1"]
        options += [f"--{name}={port}" for name, port in self._ports.items()]
        env: Mapping[str, str] = {
            **{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options]
        with self._log.open("w") as output:
            self._process = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
        end = time.monotonic() + 90
        while time.monotonic() < end and self._process.poll() is None:
            try:
                connect(self.address, self.token)
                return True
            except InputError:
                time.sleep(0.5)
        return False

    def kill(self) -> None:
        """As when the machine goes: no process of it is left, none was asked."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):  # it did not start
            head = psutil.Process(self._process.pid)
            for member in [head, *head.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    member.send_signal(signal.SIGKILL)  # Ray's servers outlive SIGTERM by half a minute
        self._process.wait(timeout=20)
        self._process = None
        shutil.rmtree(self._temporary, ignore_errors=True)
