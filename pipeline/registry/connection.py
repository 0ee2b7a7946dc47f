"""How this project talks to MLflow: to one address, quietly, and with a clear error when that fails."""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import threading
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, nearest

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_MANAGED = ("databricks", "databricks-uc")
_SECONDS = 5.0
_ENVIRONMENT = {
    # Left alone, MLflow tries a silent server for more than four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # stdout is for results, and the bars are ours.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Nothing is sent to anyone but the server that the user named.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# An address that does not answer is told at once; a server at work may take its time.
_FIRST_CONTACT = {**_ENVIRONMENT, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
"""MLflow's words for a database that others are writing to, and for an answer that did not come."""
_INSIST = (0.05, 0.2, 0.8)  # seconds between tries
_ALONE = threading.RLock()
_LOGGERS = ("mlflow", "alembic", "sqlalchemy.engine", "huey")


def tracking_uri(uri: str, *, where: str = "registry.uri") -> str:
    """A tracking URI that means the same from every directory.

    Raises:
        InputError: a folder (MLflow 3 has no file store), a database in memory, an address without host, another kind.
    """
    scheme, colon, rest = uri.partition(":")
    kind = scheme.split("+")[0]
    if uri in _MANAGED or (kind in _MANAGED and rest):
        return uri
    if not colon or kind == "file" or len(scheme) == 1 or "/" in scheme:
        folder = urllib.parse.urlsplit(uri).path if kind == "file" else uri.removeprefix("./")
        instead = f"sqlite:///{folder.rstrip('/') or '.'}/mlflow.db"
        expected = f"a database or a server, such as {instead}"
        raise InputError("MLflow 3 keeps no folder as its store", where=where, found=uri, expected=expected)
    if kind == "sqlite":
        path, question, options = rest.removeprefix("///").partition("?")
        if not rest.startswith("///") or not path or path.startswith(":memory:"):
            raise InputError("the database needs a file", where=where, found=uri, expected="sqlite:///PATH")
        return f"{scheme}:///{Path(path).expanduser().absolute()}{question}{options}"
    if kind not in _PORTS:
        kinds = ("sqlite", *_PORTS, *_MANAGED)
        close = nearest(kind, kinds)
        raise InputError(
            "unknown kind of tracking URI", where=where, found=shown(uri), expected=", ".join(kinds), nearest=close
        )
    if not urllib.parse.urlsplit(uri).hostname:
        raise InputError("the tracking URI names no host", where=where, found=shown(uri), expected=f"{scheme}://HOST")
    return uri


def shown(uri: str) -> str:
    """A URI as it may be printed: without its password."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


class Connection:
    """One MLflow tracking address, opened at first use.

    Args:
        uri: see `tracking_uri`.
    """

    def __init__(self, uri: str, *, where: str = "registry.uri") -> None:
        self.uri = tracking_uri(uri, where=where)
        self.where = where
        self._client: MlflowClient | None = None

    @property
    def database(self) -> Path | None:
        """The file of a sqlite address."""
        scheme, _, rest = self.uri.partition(":///")
        return Path(rest.partition("?")[0]) if scheme.startswith("sqlite") else None

    @contextmanager
    def open(self) -> Iterator[MlflowClient]:
        """A client to work with; MLflow's chatter goes to its loggers' parents instead of the terminal.

        Raises:
            InputError: the address does not answer, or MLflow refuses what the block asks for.
        """
        with _ALONE:  # what is set for the block belongs to the process
            if self._client is None:
                with self._working(_FIRST_CONTACT):
                    self._client = self._connect()
            with self._working(_ENVIRONMENT):
                yield self._client

    @contextmanager
    def _working(self, environment: Mapping[str, str]) -> Iterator[None]:
        with _quiet(environment), _tracking_at(self.uri):
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield
            except (MlflowException, SQLAlchemyError, OSError) as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                what, hint = f"MLflow refuses: {shown(first)}", _hint(error)
                raise InputError(what, where=self.where, found=shown(self.uri), hint=hint) from error

    def _connect(self) -> MlflowClient:
        import mlflow

        self._reach()
        with _one_maker(self.database):
            client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            client.search_registered_models(max_results=1)  # makes a new database's tables; fails where no registry is
        return client

    def _reach(self) -> None:
        parts = urllib.parse.urlsplit(self.uri)
        try:
            if self.database is not None:
                self.database.parent.mkdir(parents=True, exist_ok=True)
            elif parts.hostname:
                port = parts.port or _PORTS[parts.scheme.split("+")[0]]
                socket.create_connection((parts.hostname, port), timeout=_SECONDS).close()
        except OSError as error:
            raise InputError(
                f"the tracking URI does not answer ({error.strerror or error})",
                where=self.where,
                found=shown(self.uri),
                hint="start the server, mend the address, or use sqlite:///mlflow.db",
            ) from error


def insist(call: Callable[..., Any], *arguments: Any) -> None:
    """Makes a call that may be made twice; tries again where two writers got in each other's way."""
    from mlflow.exceptions import MlflowException

    for seconds in _INSIST:
        try:
            call(*arguments)
            return
        except MlflowException as error:
            if error.error_code not in PASSING:
                raise
            time.sleep(random.uniform(seconds / 2, seconds))
    call(*arguments)


def _hint(error: Exception) -> str | None:
    """What to do about a server that does not let us."""
    code = error.get_http_status_code() if hasattr(error, "get_http_status_code") else None
    if code == 401 or "UNAUTHENTICATED" in str(error) or "error code 401" in str(error):
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if code == 403 or "PERMISSION_DENIED" in str(error) or "error code 403" in str(error):
        return "ask the server's administrator for EDIT on PREFIX's models, on PREFIX-audit and on their experiments"
    return None


@contextmanager
def _one_maker(database: Path | None) -> Iterator[None]:
    """Processes that make the tables of one sqlite file at the same time spoil each other's work: one after the other.

    The folder is what is locked, so nothing is left behind; where it cannot be locked nothing is.
    """
    if database is None:
        yield
        return
    import fcntl

    folder = os.open(database.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    """Parts of MLflow look at the process's tracking URI whatever the client was given; puts back what was there."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


@contextmanager
def _quiet(environment: Mapping[str, str]) -> Iterator[None]:
    """Keeps MLflow off the terminal: its loggers write where the program logs, its warnings are about our own code.

    Args:
        environment: holds while the block runs; what the user has set stays.
    """
    added = {key: value for key, value in environment.items() if key not in os.environ}
    os.environ.update(added)
    _import_mlflow()  # which gives the loggers their handlers
    before = {name: (logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).handlers = [logging.NullHandler()]
        logging.getLogger(name).propagate = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, (handlers, propagate) in before.items():
            logging.getLogger(name).handlers, logging.getLogger(name).propagate = handlers, propagate
        for key in added:
            os.environ.pop(key, None)


def _import_mlflow() -> None:
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise InputError("MLflow is not installed", hint="pip install 'deepprompt[mlflow]'") from error
