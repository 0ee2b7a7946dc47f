"""Our side of the table: the pieces of `deepprompt compare`, and whole runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.tasks import PreparedTask
from tests.benchmarks.table.entries import ENTRIES, EVERY, SEEDS, WORK, entry, write_config
from workflows.compare import compare
from workflows.compare.pieces import Pieces
from workflows.compare.work import SCORES
from workflows.config.load import load_config
from workflows.run import run
from workflows.stages.graph import build_graph
from workflows.stages.stage import read_record

Figures = dict[str, Any]


def piece(name: str, method: str, rate: float | None, fresh: bool) -> Figures:
    """A method on a task, all its seeds in one cohort."""
    if fresh:
        pieces = Pieces(build_graph(load_config(write_config(f"table-{name}", [entry(name)]))))
        shutil.rmtree(pieces.stages[name, method].folder(pieces.ground.folder), ignore_errors=True)
    told = scores(name, method, [] if rate is None else [rate])
    seeds = [{"test": one["test"][told["metric"]], "dev": one["dev"]} for one in told["seeds"]]
    keys = ("metric", "learning_rate", "parameters", "steps", "seconds")
    return {**{key: told[key] for key in keys}, "seeds": seeds}


def scores(name: str, method: str, rates: Sequence[float], seeds: int = SEEDS) -> Figures:
    """What `deepprompt compare` leaves of a method on a task. rates: none for the usual ones."""
    file = write_config(f"table-{name}", [entry(name)])
    changes = [f"compare.methods=[{method}]", f"compare.seeds={seeds}"]
    changes.append(f"adapt.evaluate_every={EVERY}")
    if rates:
        changes.append(f"compare.learning_rates={{{method}: {list(map(float, rates))}}}")
    result = compare(load_config(file, changes))
    if result.failed:
        raise RuntimeError(str(result.failed))
    told = read_record(Path(result.folder) / "compare" / name / method / SCORES)
    assert told is not None
    return told


def prepared(name: str) -> PreparedTask:
    """The rows of a task as all methods read them."""
    from workflows.driver import Driver

    ground = Pieces(build_graph(load_config(write_config(f"table-{name}", [entry(name)])))).ground
    with Driver(ground, "inline", None, lambda event: None, WORK / "table.log") as driver:
        driver.prepare()
    return PreparedTask.load(ground.stages[f"prepare/{name}"].folder(ground.folder))


def whole(seed: int) -> dict[str, Figures]:
    """A run over all tasks: pretraining, search, ensemble; task → what its winner and its ensemble came to.

    Its seconds are a task's share of all stages: searches of many tasks step together. None for a run that was
    interrupted: of a stage that went on it knows what came since.
    """
    entries = [one for one in ENTRIES if one.backbone == "minilm"]
    config = load_config(write_config(f"table-whole-{seed}", entries, seed))
    fresh = not config.run_folder.exists()
    summary, graph = run(config), build_graph(config)
    if summary.failed:
        raise RuntimeError(str(summary.failed))
    rooms: dict[str, float] = {}
    for stage, value in summary.stage_seconds.items():  # the clock of a room's stages runs from a common start
        room = stage.split("/")[0]
        rooms[room] = max(value, rooms.get(room, 0.0)) if room in ("adapt", "ensemble") else value
    seconds = sum(rooms[room] for room in ("pretrain", "adapt", "ensemble")) / len(summary.rows)
    return {
        row.task: {
            "metric": row.metric,
            "test": row.test,
            "ensemble": row.ensemble_test,
            "dev": row.dev,
            "length": row.length,
            "first_layer": row.first_layer,
            "trained": graph.info.prompt_parameters(row.length, row.first_layer) + graph.head_numbers(row.task),
            "seconds": seconds if fresh else None,
        }
        for row in summary.rows
    }
