"""One MLflow database and one MLflow server for the whole room: making their tables takes seconds."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.registry import PromptRegistry
from tests.registry.made import INTENT, backbone_of, make_artifact
from tests.registry.served import Served, mlflow_server


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


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    """The server of the session."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server


@pytest.fixture
def on_server(served, request, monkeypatch, tmp_path) -> PromptRegistry:
    """The server under a prefix of the test's own, with the administrator's password and a cache of the test's own."""
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return PromptRegistry(served.uri, prefix=request.node.name.split("[")[0])


@pytest.fixture(params=["sqlite", "server"])
def either(request) -> PromptRegistry:
    """A registry by address alone: a database on this machine, then a server."""
    return request.getfixturevalue("registry" if request.param == "sqlite" else "on_server")


@pytest.fixture
def make(tmp_path):
    """(task, seed, …) → the folder of an artifact on the tiny BERT."""

    def make(name="intent", seed=0, **changes):
        folder = tmp_path / f"{name}-{seed}"
        make_artifact(folder, backbone_of("bert"), seed=seed, **{**INTENT, "name": name, **changes})
        return folder

    return make
