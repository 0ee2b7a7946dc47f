"""The token of a Ray cluster: where it is looked for, in Ray's own order.

Ray 2.60 asks for a token by default, but its job client does not pick up the one it wrote itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import InputError

HINT = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds the cluster's token"


def find_token(env: Mapping[str, str], explicit: str | None = None) -> str | None:
    """The first of: `explicit`, RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; None without any.

    Raises:
        InputError: RAY_AUTH_TOKEN_PATH names no readable file.
    """
    for token in (explicit, env.get("RAY_AUTH_TOKEN")):
        if token and token.strip():
            return token.strip()
    named = env.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError as error:
        if named:
            raise InputError("cannot read the token file", where="RAY_AUTH_TOKEN_PATH", found=named) from error
        return None
