"""Dev score against depth and length: a table whose cells have the more colour the better they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workflows.report.cells import CellScore, best_by, cell_scores
from workflows.report.charts import Search
from workflows.words import depth

_FAINTEST, _STRONGEST = 4, 42
"""Percent of the colour in a table's worst and best cell: the text must stay readable on both."""


@dataclass(frozen=True)
class Shade:
    """A cell of the table: the best of the search at one depth and length, and how strongly it is coloured, in percent.

    Args:
        cell: None where nothing was tried. winner: whether the chosen prompt is of this depth and length.
    """

    cell: CellScore | None
    percent: int
    winner: bool


@dataclass(frozen=True)
class DepthTable:
    """Rows from all layers to the fewest, a column per length."""

    lengths: Sequence[int]
    rows: Sequence[tuple[str, Sequence[Shade]]]


def depth_table(search: Search, layers: int) -> DepthTable:
    """The table of a task's search.

    Args:
        layers: of the backbone.
    """
    best = best_by(cell_scores(search.candidates), lambda cell: (cell.first_layer, cell.length))
    chosen = search.candidates[search.winner]["candidate"] if search.winner is not None else {}
    winner = chosen.get("first_layer"), chosen.get("length")
    low, high = min(cell.mean for cell in best.values()), max(cell.mean for cell in best.values())

    def shade(first_layer: int, length: int) -> Shade:
        cell = best.get((first_layer, length))
        if cell is None or cell.cut is not None:  # what was cut cannot be compared with what trained on
            return Shade(cell, 0, (first_layer, length) == winner)
        strength = (cell.mean - low) / (high - low) if high > low else 1.0
        percent = round(_FAINTEST + strength * (_STRONGEST - _FAINTEST))
        return Shade(cell, percent, (first_layer, length) == winner)

    lengths = sorted({length for _, length in best})
    first_layers = sorted({first_layer for first_layer, _ in best})
    rows = [(depth(layer, layers), [shade(layer, length) for length in lengths]) for layer in first_layers]
    return DepthTable(lengths, rows)


def depths_tried(search: Search) -> int:
    """How many depths a task's search had."""
    return len({entry["candidate"]["first_layer"] for entry in search.candidates})
