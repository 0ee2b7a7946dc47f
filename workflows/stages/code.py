"""Which code made a result."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import pipeline


@lru_cache(maxsize=1)
def code_version() -> str:
    """sha256 of the library's sources: results made by other code are not taken for this code's."""
    root = Path(pipeline.__file__).parent
    whole = hashlib.sha256(pipeline.__version__.encode())
    for path in sorted(root.rglob("*.py")):
        whole.update(path.relative_to(root).as_posix().encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()
