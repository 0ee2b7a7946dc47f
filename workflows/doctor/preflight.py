"""What a run needs from its surroundings, tried before compute starts: the tracking address answers, the disk has room.

No MLflow is imported here: that an address answers is known from a connection.
"""

from __future__ import annotations

import os
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from pipeline.errors import InputError
from workflows.words import amount

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SECONDS = 5.0


def check_tracking(uri: str, *, where: str = "registry.uri") -> str:
    """Tries a tracking URI.

    Returns:
        What was found, in words.

    Raises:
        InputError: nothing answers there, or the folder of a sqlite file cannot be written.
    """
    parts = urllib.parse.urlsplit(uri)
    kind = parts.scheme.split("+")[0]
    if kind == "sqlite":
        return _sqlite(Path(uri.partition(":///")[2].partition("?")[0]), where)
    if kind in ("http", "https"):
        return _server(uri, where)
    if kind in _PORTS:
        return _connect(parts.hostname or "localhost", parts.port or _PORTS[kind], where)
    return "not tried"


def _sqlite(file: Path, where: str) -> str:
    folder = file.absolute().parent
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise InputError("the database cannot be written", where=where, found=str(file))
    return f"{file} {'is there' if file.exists() else 'will be made'}"


def _server(uri: str, where: str) -> str:
    health = uri.rstrip("/") + "/health"
    try:
        with urllib.request.urlopen(health, timeout=_SECONDS):
            return f"{uri} answers"
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):  # a server that wants to know us first, or one behind a gateway: it answers
            return f"{uri} answers"
        raise _silent(uri, where, f"HTTP {error.code}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _silent(uri, where, str(reason)) from error


def _connect(host: str, port: int, where: str) -> str:
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        raise _silent(f"{host}:{port}", where, str(error)) from error
    return f"{host}:{port} answers"


def _silent(address: str, where: str, reason: str) -> InputError:
    hint = "start the server, mend the address, or use sqlite:///mlflow.db"
    return InputError(f"the tracking URI does not answer ({reason})", where=where, found=address, hint=hint)


def check_disk(folder: Path, needed: int, *, where: str = "storage") -> int:
    """Free bytes where `folder` is or will be.

    Raises:
        InputError: the place cannot be written, or has less than `needed` bytes.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError("this is not a folder", where=where, found=str(there))
    if not os.access(there, os.W_OK):
        raise InputError("the folder cannot be written", where=where, found=str(there))
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(
            "there is not enough room on the disk",
            where=where,
            found=f"{amount(free)} in {there}",
            expected=f"at least {amount(needed)}",
        )
    return free
