"""Functions that run in a process of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

# All are forked from one process that has imported what takes seconds to import, and has run none of it.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "workflows.run",
        "workflows.retrain.retrain",
        "transformers.modeling_utils",
        "transformers.models.auto.modeling_auto",
        "transformers.models.bert.modeling_bert",
        "sklearn.metrics",
    ]
)


def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Starts `function(*arguments)`, both such that another process can import them, with this one's environment."""
    process = FORKS.Process(target=_inside, args=(dict(os.environ), function, arguments))
    process.start()
    return process


def _inside(environment: dict[str, str], function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    function(*arguments)


def killed(function: Callable[..., None], *arguments: Any) -> None:
    """Runs `function(*arguments)`, which must end its process with SIGKILL."""
    process = start(function, *arguments)
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"it ended with {process.exitcode}: stderr has the reason"
