"""Strict readers of local files: every row comes with the place it was read from, every mistake is told with it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

# What a reader yields: the number of the line or row, and either the row or the mistake that keeps it from being one.
Numbered = tuple[int, Mapping[str, Any] | InputError]


@dataclass(frozen=True)
class RowSource:
    """The raw rows of one split.

    Args:
        split: "train", "dev" or "test".
        name: the file, or the dataset and its split.
        unit: what the numbers count, "line" or "row"; both from 1.
        read: opens the source and yields its rows.
    """

    split: str
    name: str
    unit: str
    read: Callable[[], Iterable[Numbered]]

    def place(self, number: int) -> str:
        """Where a row is, in the words of an error: `train.jsonl:12` or `train.parquet row 12`."""
        return f"{self.name}:{number}" if self.unit == "line" else f"{self.name} row {number}"


def file_source(path: Path, split: str) -> RowSource:
    """The rows of one .jsonl, .csv or .parquet file."""
    readers: dict[str, tuple[str, Callable[[Path], Iterator[Numbered]]]] = {
        ".jsonl": ("line", _jsonl),
        ".csv": ("line", _csv),
        ".parquet": ("row", _parquet),
    }
    unit, reader = readers[path.suffix]
    return RowSource(split, str(path), unit, lambda: reader(path))


def _lines(path: Path) -> Iterator[tuple[int, str | InputError]]:
    """Lines of a UTF-8 file, numbered from 1; a byte order mark is dropped."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    found = raw[max(0, error.start - 10) : error.end + 10]
                    yield number, InputError("not UTF-8", found=found, hint="save the file as UTF-8")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _jsonl(path: Path) -> Iterator[Numbered]:
    for number, line in _lines(path):
        if isinstance(line, InputError):
            yield number, line
        elif line.strip():
            yield number, _json_object(line)


def _json_object(line: str) -> Mapping[str, Any] | InputError:
    try:
        row = json.loads(line)
    except RecursionError:
        return InputError("JSON nested too deeply", found=line.strip()[:80])
    except json.JSONDecodeError as error:
        return InputError("broken JSON", found=f"{error.msg} at column {error.colno} of {line.strip()[:80]}")
    if not isinstance(row, dict):
        return InputError("not a JSON object", found=line.strip()[:80], expected='{"column": value, …}')
    return row


def _csv(path: Path) -> Iterator[Numbered]:
    # Every cell stays the text that the file holds. Readers that guess types turn "NA" and "null" into nothing, "01"
    # into 1 and a column with one gap into floats.
    ending: list[Numbered] = []

    def text() -> Iterator[str]:
        for number, line in _lines(path):
            if isinstance(line, InputError):
                ending.append((number, line))
                return
            yield line

    reader = csv.reader(text(), strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1  # a row with quoted line breaks is told by its first line
        try:
            cells = next(reader, None)
        except csv.Error as error:
            ending = ending or [(number, InputError(f"broken CSV: {error}"))]
            break
        if cells is None:
            break
        if header is None:
            header = cells
        elif cells and len(cells) != len(header):
            yield number, InputError("a row of another width than the header", found=len(cells), expected=len(header))
        elif cells:
            yield number, dict(zip(header, cells, strict=True))
    yield from ending


def _parquet(path: Path) -> Iterator[Numbered]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as parquet ({error})", where=str(path)) from error
