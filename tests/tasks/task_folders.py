"""Task folders for tests: rows as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Rows = Iterable[Mapping[str, Any] | str | bytes]
MakeFolder = Callable[..., Path]

TEXTS = [{"text": "good food", "label": "yes"}, {"text": "bad food", "label": "no"}]


def jsonl(rows: Rows) -> bytes:
    """Rows as JSON lines; text and bytes go in as they are."""
    return b"".join(_line(row) + b"\n" for row in rows)


def _line(row: Mapping[str, Any] | str | bytes) -> bytes:
    if isinstance(row, bytes):
        return row
    return (row if isinstance(row, str) else json.dumps(row)).encode()
