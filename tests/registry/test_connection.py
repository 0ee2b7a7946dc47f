"""Tracking addresses: what they mean, which are refused, and what a silent one says."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry, tracking_uri


def test_a_relative_database_is_the_same_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    registry = PromptRegistry("sqlite:///here/mlflow.db?timeout=5")
    assert registry.uri == f"sqlite:///{tmp_path}/here/mlflow.db?timeout=5"
    monkeypatch.chdir("/")
    assert registry.connection.database == tmp_path / "here" / "mlflow.db"
    assert not list(tmp_path.iterdir())  # nothing is opened before the first call
    assert tracking_uri(registry.uri) == registry.uri


@pytest.mark.parametrize("uri", ["https://mlflow.example", "http://localhost:5000", "postgresql+psycopg2://u:p@db/m"])
def test_servers_and_databases_are_taken_as_they_are(uri):
    assert tracking_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "instead"),
    [
        ("file:///data/mlruns", "sqlite:////data/mlruns/mlflow.db"),
        ("file:mlruns", "sqlite:///mlruns/mlflow.db"),
        ("./mlruns", "sqlite:///mlruns/mlflow.db"),
        ("mlruns", "sqlite:///mlruns/mlflow.db"),
        ("/data/mlruns/", "sqlite:////data/mlruns/mlflow.db"),
        ("C:/data", "sqlite:///C:/data/mlflow.db"),
    ],
)
def test_a_folder_is_refused_with_what_to_use(uri, instead):
    with pytest.raises(InputError, match="no folder as its store") as told:
        PromptRegistry(uri)
    assert told.value.expected == f"a database or a server, such as {instead}"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:mlflow.db", "needs a file"),
        ("http://", "names no host"),
        ("postgres://db/x", "did you mean 'postgresql'"),
        ("ftp://me:secret@host/x", "unknown kind"),
    ],
)
def test_an_address_that_is_none(uri, said):
    with pytest.raises(InputError, match=said) as told:
        tracking_uri(uri)
    assert "secret" not in told.value.message


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_server_that_is_not_there_is_told_at_the_first_try(scheme, monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, so that nobody else listens there, and never listening
        uri = f"{scheme}://me:secret@127.0.0.1:{held.getsockname()[1]}"
        tries = []
        connect = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda *a, **k: (tries.append(a), connect(*a, **k))[1])
        with pytest.raises(InputError, match=r"does not answer .*refused") as told:
            PromptRegistry(uri).check()
    assert len(tries) == 1 and "secret" not in told.value.message


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all, but long enough to look like one" * 40)
    with pytest.raises(InputError, match="MLflow refuses"):
        PromptRegistry(f"sqlite:///{tmp_path}/mlflow.db").check()


def test_a_database_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="does not answer"):
        PromptRegistry(f"sqlite:///{tmp_path}/file/mlflow.db").check()


def test_importing_the_registry_imports_no_mlflow():
    import subprocess
    import sys

    code = "import sys, pipeline.registry; sys.exit(any(name.split('.')[0] == 'mlflow' for name in sys.modules))"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
