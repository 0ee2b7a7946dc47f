"""Canonical rows on disk: an Arrow file that is memory-mapped, named by the rows it holds."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from pipeline.errors import InputError
from pipeline.tasks.data.cells import Cell

_ROWS_PER_WRITE = 1000


class NoRowsError(Exception):
    """There was no row to write."""


def write_table(
    rows: Iterable[dict[str, Any]], columns: Mapping[str, Cell], cache_dir: Path
) -> tuple[datasets.Dataset, str]:
    """Streams canonical rows into an Arrow file.

    Args:
        rows: read once, never held in memory together.
        columns: of every row, and what their cells hold.
        cache_dir: the file goes to its folder `rows`.

    Returns:
        The rows, memory-mapped, and the sha256 over them in their order, which names the file.

    Raises:
        NoRowsError: `rows` is empty.
        InputError: the cache cannot be written, for instance because the disk is full.
    """
    schema = pa.schema([(name, cell.kept_as) for name, cell in columns.items()])
    folder = cache_dir / "rows"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
        os.close(handle)
        try:
            fingerprint = _stream(rows, schema, temporary)
            final = folder / f"{fingerprint}.arrow"
            os.replace(temporary, final)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"the cache cannot be written ({error.strerror or error})", where=str(folder)) from error
    return datasets.Dataset.from_file(str(final)), fingerprint


def _stream(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: str) -> str:
    digest = hashlib.sha256(json.dumps(schema.names).encode() + b"\n")
    count = 0
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for chunk in _chunks(rows):
            count += len(chunk)
            for row in chunk:
                digest.update(json.dumps([row[name] for name in schema.names], separators=(",", ":")).encode() + b"\n")
            writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema=schema))
    if not count:
        raise NoRowsError
    return digest.hexdigest()


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS_PER_WRITE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
