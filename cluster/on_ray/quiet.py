"""Ray's own talk goes to a file: the terminal shows progress, and stdout holds results."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)


@contextmanager
def quiet_ray(log_file: Path) -> Iterator[None]:
    """While the context lasts, Ray's loggers and ours about Ray write to `log_file` only."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger("ray"), logging.getLogger("cluster")]
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    try:
        with _notices_logged():
            yield
    finally:
        for logger, handlers, propagate, level in before:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        handler.close()


@contextmanager
def _notices_logged() -> Iterator[None]:
    """Ray prints notices such as a worker's death to stdout whatever `log_to_driver` says; there is no setting for
    it."""
    from ray._private import worker

    def log(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
        LOG.warning("%s: %s", data.get("pid"), "\n".join(data.get("lines", ())))

    before = worker.print_to_stdstream
    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = before
