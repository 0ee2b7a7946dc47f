"""The report's figures as plain data, for a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any


def figures(view: Mapping[str, Any]) -> dict[str, Any]:
    """What the report of this view says, unrounded.

    Args:
        view: as `report_view` makes it.
    """
    summary, standings = view["summary"], view["leaderboard"]
    ends = {one.row.task: one.gain for one in standings}
    return {
        "run": summary.name,
        "folder": summary.folder,
        "report": summary.report,
        "complete": view["complete"],
        "missing": [asdict(one) for one in view["missing"]],
        "failed": dict(summary.failed),
        "tasks": [
            {
                **asdict(one.row),
                "type": one.type,
                "test_rows": one.test_rows,
                "contenders": {name: asdict(each) for name, each in one.contenders.items()},
            }
            for one in standings
        ],
        "gains": [
            {**asdict(gain), "difference": gain.difference, "interval": ends.get(gain.task)} for gain in view["gains"]
        ],
        "held_out_gain": view["transfer"],
        "bytes": {cost.task: cost.size for cost in view["costs"]},
        "backbone": {"parameters": view["info"].parameters, "bytes": view["copy_size"], "dtype": view["graph"].dtype},
        "seconds": {room["name"]: room["seconds"] for room in view["rooms"]},
        "origin": dict(view["origin"]),
        "data": [asdict(one) for one in view["sources"]],
        "next": [asdict(one) for one in view["advice"]],
    }
