"""Task data at a URI (s3://, gs://, https://, …): its splits are fetched through fsspec into the cache, once a version.

Credentials are those of the protocol's own package, found as it finds them: environment, profile, the node's role.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import InputError, nearest

_VERSION = ("ETag", "etag", "checksum", "md5Hash", "content_md5", "VersionId", "generation", "mtime", "LastModified")
"""What file systems tell of a file's version, the surest first; its size counts besides."""


def is_uri(text: str) -> bool:
    """Whether a data path is a URI and no folder of this machine."""
    return "://" in text


def remote_folder(uri: str, wanted: tuple[str, ...], cache_dir: Path) -> Path:
    """A local copy of a remote folder: those of its files that are called one of `wanted`.

    A copy is named by what the file system tells of the files' versions: new data get a new copy.

    Raises:
        InputError: an unknown protocol, one whose package is missing, no such folder, or one that cannot be read.
    """
    files, root = _opened(uri)
    listed = _listed(uri, files, root)
    there = {name: info for name, info in listed.items() if name in wanted}
    if not there:
        found = ", ".join(sorted(listed)) or "nothing"
        raise InputError("no data here", where=uri, found=found, expected=f"one of {', '.join(wanted[:3])}, …")
    folder = cache_dir / "remote" / _digest(uri, there)
    if folder.is_dir():
        return folder
    part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir(parents=True)
    try:
        for name, info in there.items():
            files.get_file(info["name"], str(part / name))
        os.replace(part, folder)
    except Exception as error:  # each protocol fails in classes of its own
        if folder.is_dir():  # another process was faster
            return folder
        raise _unreadable(uri, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def remote_version(uri: str) -> tuple[str, str]:
    """What tells this version of the folder from others, and why that cannot be known: one of them is empty.

    Raises:
        InputError: an unknown protocol.
    """
    _check_protocol(uri)
    try:
        files, root = _opened(uri)
        return _digest(uri, _listed(uri, files, root)), ""
    except InputError as problem:
        return "", problem.what


def _check_protocol(uri: str) -> str:
    from fsspec import available_protocols

    protocol = uri.partition("://")[0]
    known = available_protocols()
    if protocol not in known or "::" in uri:
        raise InputError(
            "data cannot be read from such a URI",
            where="data.path",
            found=uri,
            expected="s3://BUCKET/FOLDER, gs://…, abfs://…, https://…, file:///FOLDER",
            nearest=nearest(protocol, known),
        )
    return protocol


def _opened(uri: str) -> tuple[Any, str]:
    import fsspec

    protocol = _check_protocol(uri)
    try:
        # No listing is kept from before: data that changed since must be seen.
        files, root = fsspec.core.url_to_fs(uri, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        package = next(iter(str(error).replace("Install ", "").split()), protocol)
        hint = f"pip install {package}"
        raise InputError(f"{protocol}:// needs a package: {error}", where=uri, hint=hint) from error
    except Exception as error:
        raise _unreadable(uri, error) from error
    return files, root


def _listed(uri: str, files: Any, root: str) -> dict[str, dict[str, Any]]:
    """File name → what the file system tells of it."""
    try:
        entries = files.ls(root, detail=True)
    except FileNotFoundError as error:
        raise InputError("no such data folder", where=uri) from error
    except Exception as error:
        raise _unreadable(uri, error) from error
    return {entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry for entry in entries if entry["type"] == "file"}


def _digest(uri: str, listed: dict[str, dict[str, Any]]) -> str:
    digest = hashlib.sha256(uri.rstrip("/").encode())
    for name, info in sorted(listed.items()):
        version = next((str(info[key]) for key in _VERSION if info.get(key)), str(info.get("created", "")))
        digest.update(f"\0{name}\0{info.get('size')}\0{version}".encode())
    return digest.hexdigest()


def _unreadable(uri: str, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    host = urlsplit(uri).scheme
    return InputError(
        f"the data cannot be read ({type(error).__name__}: {reason})",
        where=uri,
        hint=f"credentials are found as the {host} package finds them: environment, profile, role",
    )
