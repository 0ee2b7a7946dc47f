"""A server of the tests, how it is asked, and how it is asked without pause."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.registry import PromptRegistry
from tests.registry.made import backbone_of, make_artifact
from workflows.serve.limits import Limits
from workflows.serve.settings import Settings
from workflows.serve.start import Running, serving

TOKEN = "open sesame"
LIMITS = Limits(rows=80, characters=400, queue=64, seconds=30.0)  # a request of 65 to 80 rows never fits the queue
MARKUP = {"name": "markup", "type": "classification", "labels": ("<img src=x onerror=alert(1)>", "a & <b>b</b>")}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server and the registry behind it."""

    url: str
    registry: PromptRegistry
    folder: Path

    def ask(self, path: str, body: Any = None, **headers: str) -> Reply:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): v for name, v in headers.items()}
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, dict(error.headers), error.read())

    def predict(self, *rows: dict[str, Any], **headers: str) -> Any:
        reply = self.ask("/v1/predict", {"rows": list(rows)}, **headers)
        assert reply.status == 200, reply.body
        return reply.json["answers"]

    def add(self, task: dict[str, Any], seed: int, alias: str | None) -> int:
        """Registers a version of random numbers."""
        folder = self.folder / f"{task['name']}-{seed}"
        make_artifact(folder, backbone_of("bert"), seed=seed, **task)
        return self.registry.register(folder, alias=alias).version

    def withdraw(self, task: str) -> None:
        """Takes the champion's alias away, as MLflow's own page would."""
        with self.registry.connection.open() as client:
            client.delete_registered_model_alias(f"{self.registry.prefix}.{task}", "champion")

    def asking(self, row: dict[str, Any]) -> Asking:
        return Asking(self, row)


class Asking:
    """Asks for the same row again and again on a thread, and keeps every reply."""

    def __init__(self, server: Server, row: dict[str, Any]) -> None:
        self.server, self.row, self.replies = server, row, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop.is_set():
            self.replies.append(self.server.ask("/v1/predict", {"rows": [self.row]}))

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def start(server: Server, log_file: Path) -> AbstractContextManager[Running]:
    """The server of the tests: it looks at its registry five times a second and asks for a token."""
    port = int(server.url.rpartition(":")[2])
    secret = hashlib.sha256(TOKEN.encode()).hexdigest()
    uri, prefix = server.registry.uri, server.registry.prefix
    settings = Settings(uri, prefix, poll=0.2, token_sha256=secret, limits=LIMITS)
    return serving(settings, port=port, cpus=1, token=TOKEN, log_file=log_file)
