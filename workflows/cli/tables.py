"""Tables and figures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text


def output() -> Console:
    """stdout. Away from a terminal nothing is wrapped: a line stays a line for grep."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


def columns(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A plain table; numbers to the right, and text as it is, whatever brackets it has."""
    table = Table(box=None, pad_edge=False, header_style="bold")  # headers of two words take two lines, not width
    for index, header in enumerate(headers):
        figures = bool(rows) and all(isinstance(row[index], int | float | None) for row in rows)
        justify: Literal["right", "left"] = "right" if figures else "left"
        table.add_column(header.replace(" ", "\n"), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    return table


def cell(value: Any) -> str:
    """One value: scores with four digits, counts with separators, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    return str(value)
