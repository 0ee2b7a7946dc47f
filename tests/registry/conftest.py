"""One MLflow database for the whole room: making its tables takes seconds."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import pytest

from pipeline.registry import PromptRegistry


@dataclass(frozen=True)
class Opened:
    """A registry on a database of its own, and what opening it printed."""

    registry: PromptRegistry
    printed: str


@pytest.fixture(scope="session")
def opened(tmp_path_factory) -> Opened:
    registry = PromptRegistry(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/new/mlflow.db")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        registry.check()
    return Opened(registry, printed.getvalue())


@pytest.fixture
def registry(opened, request) -> PromptRegistry:
    """The session's database under a prefix of the test's own."""
    return PromptRegistry(opened.registry.uri, prefix=request.node.name.split("[")[0])
