"""A comparison: every piece that is not done yet, each made done as a whole; the same command continues."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.training.world import save_json
from workflows.compare.page import PAGE, write_page
from workflows.compare.pieces import Pieces
from workflows.compare.table import Comparison, rows_of
from workflows.compare.work import compare as compare_piece
from workflows.config.settings import Config
from workflows.doctor.preflight import check_disk
from workflows.driver import Driver
from workflows.plan import estimate
from workflows.run import DISK_NEEDED
from workflows.stages.graph import build_graph
from workflows.stages.stage import Stage, only_run, standing
from workflows.words import span

OnEvent = Callable[[Mapping[str, Any]], None]
TABLE = "compare.json"
"""The name of the results in the comparison's folder."""


def compare(
    config: Config,
    *,
    address: str | None = None,
    on_event: OnEvent = lambda event: None,
    log_file: Path | None = None,
) -> Comparison:
    """Compares the methods that a config lists, on the tasks that it adapts.

    Args:
        address: a running Ray cluster. on_event: hears of progress. log_file: takes what the libraries say.

    Raises:
        InputError: anything wrong in config, data or backbone, before compute starts.
    """
    began = time.monotonic()
    pieces = Pieces(build_graph(config, on_event))
    ground = pieces.ground
    check_disk(ground.folder, DISK_NEEDED)
    log = log_file or ground.folder / "compare.log"
    with only_run(ground.folder):
        with Driver(ground, config.launcher, address, on_event, log) as driver:
            driver.prepare()
            waiting = {stage.name: key for key, stage in pieces.stages.items() if not _skipped(pieces, key, on_event)}
            on_event({"stage": "compare", "note": cost(pieces, list(waiting.values()))})
            stages = [pieces.stages[key] for key in waiting.values()]
            driver.fan_out(
                compare_piece,
                stages,
                lambda stage, out: pieces.payload(*waiting[stage.name], out),
                _Count(len(stages), on_event),
            )
        result = Comparison(
            name=config.name,
            own=config.prompt.method,
            budget=budget(pieces),
            rows=rows_of(pieces),
            failed=dict(driver.failures),
            folder=str(ground.folder),
            page=str(ground.folder / PAGE),
            seconds=round(time.monotonic() - began, 1),
        )
        save_json(ground.folder / TABLE, result.as_json())
        write_page(ground.folder / PAGE, result)
    return result


class _Count:
    """Tells of the pieces that are over, of all that are to be done."""

    def __init__(self, total: int, on_event: OnEvent) -> None:
        self._done, self._total, self._on_event = 0, total, on_event
        if total:
            self._tell("")

    def __call__(self, stage: Stage) -> None:
        self._done += 1
        self._tell(str(stage.task))

    def _tell(self, note: str) -> None:
        self._on_event({"stage": "compare", "done": self._done, "total": self._total, "note": note})


def budget(pieces: Pieces) -> str:
    """What every candidate has, in words."""
    if pieces.how.seconds is not None:
        return f"{pieces.how.seconds:g} seconds each"
    steps = sorted({pieces.steps(task) for task in pieces.tasks})
    return f"{' or '.join(f'{one:,}' for one in steps)} steps each"


def cost(pieces: Pieces, waiting: list[tuple[str, str]]) -> str:
    """What is about to be done, and about how long it takes."""
    how = pieces.how
    told = f"{len(pieces.tasks)} tasks × {len(how.methods)} methods, {how.seeds} seeds, {budget(pieces)}"
    done = len(pieces.stages) - len(waiting)
    if not waiting:
        return f"{told}; all {done} pieces are done"
    speed = estimate.measure_speed(pieces.ground.dtype, pieces.ground.info.width)
    seconds = sum(pieces.seconds(task, method, speed) for task, method in waiting)
    return f"{told}; {done} of {len(pieces.stages)} pieces are done, the rest takes about {span(seconds)}"


def _skipped(pieces: Pieces, key: tuple[str, str], on_event: OnEvent) -> bool:
    found = standing(pieces.ground.folder, pieces.stages[key])
    if found.skipped:
        on_event({"stage": "compare", "task": "/".join(key), "note": f"skipped: {found.reason}"})
    return found.skipped
