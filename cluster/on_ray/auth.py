"""The token of a Ray cluster: where it is looked for, in Ray's own order.

Ray 2.60 asks for a token by default, but its job client does not pick up the one it wrote itself.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

HINT = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds the cluster's token"
PLACES = "--token, RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, ~/.ray/auth_token"
"""Where a token is looked for, in this order."""


@dataclass(frozen=True)
class Token:
    """A token and where it was found: `file` is None unless it was in one."""

    value: str
    source: str
    file: Path | None = None

    @property
    def open_to_others(self) -> bool:
        """Whether other users of this machine can read it; Ray writes its own file so."""
        try:
            return self.file is not None and bool(self.file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
        except OSError:
            return False


def look_for_token(env: Mapping[str, str], explicit: str | None = None) -> Token | None:
    """The first of: `explicit`, RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; None without any.

    Raises:
        InputError: RAY_AUTH_TOKEN_PATH names no readable file.
    """
    for value, source in ((explicit, "--token"), (env.get("RAY_AUTH_TOKEN"), "RAY_AUTH_TOKEN")):
        if value and value.strip():
            return Token(value.strip(), source)
    named = env.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise InputError("cannot read the token file", where="RAY_AUTH_TOKEN_PATH", found=named) from error
        return None
    return Token(value, str(path), path) if value else None


def find_token(env: Mapping[str, str], explicit: str | None = None) -> str | None:
    """The token alone; see `look_for_token`."""
    found = look_for_token(env, explicit)
    return found.value if found is not None else None
