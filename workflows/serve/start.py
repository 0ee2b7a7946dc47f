"""Starts the application on Ray Serve, and stops it."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.on_ray.start import ray_session
from cluster.shares import Share, share
from pipeline.errors import InputError
from pipeline.registry import PromptRegistry
from workflows.serve.settings import Settings

APP = "deepprompt"
INSTALL = 'pip install "deepprompt[serve]"'


@dataclass(frozen=True)
class Running:
    """A server at work.

    Args:
        url: where. tasks: what `/v1/tasks` says.
    """

    url: str
    tasks: dict[str, Any]


@contextmanager
def serving(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    replicas: int = 1,
    cpus: float | None = None,
    address: str | None = None,
    token: str | None = None,
    log_file: Path,
) -> Iterator[Running]:
    """The application answers while the context lasts.

    Args:
        settings: of the replicas. host, port: where to listen.
        replicas: each has its own copy of the backbone.
        cpus: that a replica reserves and computes with; None is an equal share of a private cluster, 1 of one joined.
        address: a Ray cluster to join; None starts a private one on this machine, unless this process uses one already.
        token: whose hash is in the settings.
        log_file: takes what Ray says here.

    Raises:
        InputError: the registry does not answer; host and port cannot be had; champions are there and none can be
            served; Ray Serve is not installed.
    """
    _check_listening(host, port)
    PromptRegistry(settings.uri, settings.prefix).check()
    with ray_session(address, log_file):
        import ray

        try:
            from ray import serve

            from workflows.serve.app import Replica
        except ImportError as error:
            raise InputError(f"Ray Serve is not installed ({error})", hint=INSTALL) from error
        own = share([node["Resources"] for node in ray.nodes() if node["Alive"]], replicas)
        own = Share(cpus or (own.cpus if address is None else min(own.cpus, 1.0)), own.gpus)
        folder = Path(tempfile.mkdtemp(prefix="deepprompt-metrics-"))
        quiet = {"encoding": "TEXT", "enable_access_log": False}
        limits = settings.limits
        deployment = serve.deployment(Replica).options(
            name="prompts",
            num_replicas=replicas,
            # The replica refuses with 429 long before these; they only bound what Ray itself keeps.
            max_ongoing_requests=2 * limits.queue,
            max_queued_requests=2 * limits.queue,
            graceful_shutdown_timeout_s=20,
            health_check_period_s=5,
            ray_actor_options={
                "num_cpus": own.cpus,
                "num_gpus": own.gpus,
                "runtime_env": {"env_vars": {"PROMETHEUS_MULTIPROC_DIR": str(folder)}},
            },
            logging_config=quiet,
        )
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": host, "port": port, "request_timeout_s": limits.seconds + 10},
                logging_config=quiet,
            )
            threads = settings.threads or own.threads
            serve.run(
                deployment.bind(replace(settings, threads=threads, private=address is None)), name=APP, route_prefix="/"
            )
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            yield Running(url, _ask(host, port, token))
        finally:
            if address is None:
                serve.shutdown()
            else:  # others may serve there too
                serve.delete(APP)
            shutil.rmtree(folder, ignore_errors=True)


def _check_listening(host: str, port: int) -> None:
    """Told before anything is started."""
    where = f"--host {host} --port {port}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(place)
    except OSError as error:
        what = "the port is taken" if error.errno == errno.EADDRINUSE else f"cannot listen there ({error.strerror})"
        raise InputError(what, where=where, hint="choose another with --host and --port") from error


def _ask(host: str, port: int, token: str | None) -> dict[str, Any]:
    """What the server says it serves.

    Raises:
        InputError: champions are there, and none can be served.
    """
    here = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    request = urllib.request.Request(f"http://{here}:{port}/v1/tasks")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    until = time.monotonic() + 10.0
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                told: dict[str, Any] = json.load(answer)
            break
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > until:  # the proxy learns its routes a moment after the deployment
                hint = "where Ray Serve already runs on the cluster, it keeps its own host and port"
                raise InputError(f"nothing answers there ({error})", where=request.full_url, hint=hint) from error
            time.sleep(0.2)
    if told["refused"] and not told["tasks"]:
        name, why = next(iter(told["refused"].items()))
        raise InputError(f"no champion can be served, beginning with {name}: {why}", where="registry")
    return told
