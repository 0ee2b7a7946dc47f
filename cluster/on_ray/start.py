"""Joins a Ray cluster, or starts a private and silent one on this machine, and stops what it started."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.on_ray import auth
from cluster.shares import cores
from pipeline.errors import InputError

LOG = logging.getLogger(__name__)
INSTALL = 'pip install "deepprompt[ray]"'
OBJECT_STORE_BYTES = 256 << 20  # payloads and results are small; data and weights are files
_PRIVATE_TOKEN = secrets.token_hex(32)  # one for the process: Ray keeps the first it sees


@contextmanager
def ray_session(address: str | None, log_file: Path) -> Iterator[None]:
    """Ray is usable while the context lasts.

    A cluster that this process already uses stays as it is. One that is joined is left again. One that is started here
    listens on loopback, has a token of its own that is never written to disk, and is stopped at the end. Should this
    process be killed, the kernel ends the cluster with it.

    Args:
        address: see `make_launcher`.
        log_file: takes what Ray says in this process, and the name of the folder with the logs of its workers.

    Raises:
        InputError: `address` cannot be joined.
    """
    wanted = address or os.environ.get("RAY_ADDRESS") or None
    with environment(_auth_settings(wanted)):
        try:
            import ray
        except ImportError as error:
            raise InputError("Ray is not installed", where="launcher", found="ray", hint=INSTALL) from error
        from ray._raylet import Config  # type: ignore[attr-defined]  # compiled

        from cluster.on_ray.quiet import quiet_ray

        if ray.is_initialized():
            with quiet_ray(log_file):
                yield
            return
        Config.initialize("")  # Ray reads RAY_AUTH_MODE when it is imported, which may have been before we set it
        with quiet_ray(log_file):
            with environment({"PYTHONPATH": _search_path()}, replace=True), _keeping_sigterm():
                session = _join(ray, wanted) if wanted else _start(ray)
            LOG.info("the logs of Ray and of its workers are in %s/logs", session)
            try:
                yield
            finally:
                ray.shutdown()


def _start(ray: Any) -> str:
    from ray._private import ray_constants

    # Ray listens on all interfaces, except where it believes clusters impossible (macOS): the one way to loopback.
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        context = ray.init(
            address="local",
            num_cpus=cores(),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
    return str(context.address_info["session_dir"])


def _join(ray: Any, address: str) -> str:
    if "://" in address:
        raise InputError(
            "this address takes jobs, not drivers",
            where="address",
            found=address,
            expected="auto or HOST:PORT",
            hint="send the run there with `deepprompt submit`",
        )
    try:
        context = ray.init(address=address, log_to_driver=False, configure_logging=False)
    except ray.exceptions.AuthenticationError as error:
        raise InputError("the Ray cluster refuses us", where="address", found=address, hint=auth.HINT) from error
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot join the Ray cluster: {str(error).splitlines()[0]}", where="address", found=address
        ) from error
    return str(context.address_info["session_dir"])


def _auth_settings(wanted: str | None) -> dict[str, str]:
    """What must be in the environment so that driver and cluster agree; nothing when the user already said."""
    if "RAY_AUTH_MODE" in os.environ:
        return {}
    if wanted is None:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _PRIVATE_TOKEN}
    token = auth.find_token(os.environ)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}


def _search_path() -> str:
    """PYTHONPATH for workers: they import the packages this process runs, installed or not."""
    ours = str(Path(__file__).resolve().parent.parent)
    theirs = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != ours]
    return os.pathsep.join([ours, *theirs])


@contextmanager
def environment(settings: Mapping[str, str], *, replace: bool = False) -> Iterator[None]:
    """Environment variables for a while; those the user has set keep their value unless `replace`."""
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update({key: value for key, value in settings.items() if replace or before[key] is None})
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """`ray.init` puts its own handler in place of whoever stops this process in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
