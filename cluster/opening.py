"""Opens the launcher that a config names, and closes with it whatever it started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.launcher import LAUNCHERS, Launcher
from pipeline.errors import InputError, nearest


@contextmanager
def make_launcher(name: str, *, address: str | None = None, log_file: Path) -> Iterator[Launcher]:
    """The launcher called `name`; leaving the context stops whatever it started, also after an interruption.

    SIGTERM becomes `KeyboardInterrupt` inside, so that a job being stopped ends the same way as Ctrl-C.

    Args:
        name: "inline" (this process, no Ray) or "ray".
        address: a running Ray cluster to join; by default the one that RAY_ADDRESS names (as in a Ray job), else a
            private one is started on this machine.
        log_file: takes what the libraries say.
    """
    if name not in LAUNCHERS:
        raise InputError(
            "no such launcher",
            where="launcher",
            found=name,
            expected=" or ".join(LAUNCHERS),
            nearest=nearest(name, LAUNCHERS),
        )
    with sigterm_interrupts():
        if name == "inline":
            from cluster.inline import InlineLauncher

            yield InlineLauncher()
        else:
            from cluster.on_ray.start import ray_session

            with ray_session(address, log_file):
                from cluster.on_ray.launcher import RayLauncher  # brings Ray, whose settings the session makes

                yield RayLauncher()


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises `KeyboardInterrupt` in the main thread while the context lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows signal handlers in the main thread only
        return

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
