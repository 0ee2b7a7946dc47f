"""`retrain`: decides per task, adapts what must be from the current shared prompt, and lets the gate promote.

The work is an ordinary run of the chosen tasks in a folder of its own, `<name>.retrain-<date>`; so an interrupted one
continues, a failing task fails alone, and `run` of the same config finds its own stages as it left them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import InputErrors
from pipeline.registry import PromptRegistry
from workflows.config.settings import Config
from workflows.driver import Driver
from workflows.retrain.decide import AS_OF
from workflows.retrain.lease import Lease, Superseded
from workflows.retrain.shared import fetch_shared
from workflows.retrain.summary import RetrainSummary, rows_of
from workflows.retrain.survey import KEY, OF, Survey, survey
from workflows.run import run_graph
from workflows.stages.graph import RunGraph
from workflows.stages.register import Errand
from workflows.summary import RunSummary

OnEvent = Callable[[Mapping[str, Any]], None]


def retrain(
    config: Config,
    *,
    conditions: Collection[str] | None = None,
    as_of: date | None = None,
    dry_run: bool = False,
    overlap: str | None = None,
    address: str | None = None,
    on_event: OnEvent = lambda event: None,
    log_file: Path | None = None,
) -> RetrainSummary:
    """Retrains what needs it.

    Args:
        conditions: when a task is trained again; None for the config's.
        as_of: the date that it is done for; None for today, UTC. Of several dates that were missed, the latest does.
        dry_run: decide only. overlap: "forbid", "queue" or "replace"; None for the config's.
        address: a running Ray cluster.

    Raises:
        InputError: anything wrong in config, data or backbone, or another retraining is going on.
        LeaseLost: another one has taken over.
    """
    began = time.monotonic()
    conditions = tuple(conditions or config.retrain.conditions)
    day = as_of or datetime.now(UTC).date()
    log_file = log_file or config.run_folder.with_name(f"{config.name}.retrain.log")
    registry = PromptRegistry(config.registry.uri, config.registry.prefix)

    def opening(graph: RunGraph) -> Driver:
        return Driver(graph, config.launcher, address, on_event, log_file)

    look = partial(survey, config, registry, conditions, day, opening, on_event)

    def summary(found: Survey, run: RunSummary | None, notes: tuple[str, ...] = ()) -> RetrainSummary:
        return RetrainSummary(
            name=config.name,
            as_of=day.isoformat(),
            conditions=conditions,
            dry_run=dry_run,
            key=found.key,
            pretrain=found.pretrain,
            shared=None if found.shared is None else found.shared.version.version,
            rows=rows_of(found, run, dry_run),
            seconds=round(time.monotonic() - began, 1),
            run=run,
            notes=notes,
        )

    if dry_run:
        return summary(look(), None)
    lease = Lease(lease_folder(config), config.retrain.lease_seconds, day.isoformat())

    def say(note: str) -> None:
        on_event({"stage": "retrain", "note": note})

    try:
        with lease.held(overlap or config.retrain.overlap, say):
            found = look()
            if found.covered is not None or not found.chosen:
                return summary(found, None)
            _tell(found, say)
            errand = Errand({OF: config.name, KEY: found.key, AS_OF: day.isoformat()}, lease.check)
            run = run_graph(
                _graph(found, registry, day), address=address, on_event=on_event, log_file=log_file, errand=errand
            )
            return summary(found, run)
    except Superseded as later:
        note = f"another retraining is for {later}, which is later: it does the work of both"
        return RetrainSummary(
            config.name, day.isoformat(), conditions, False, "", None, None, (), time.monotonic() - began, notes=(note,)
        )


def lease_folder(config: Config) -> Path:
    """Where the lease of a config is: in the storage that all who may retrain it share."""
    return Path(config.storage).absolute() / ".leases" / config.name


def _name(config: Config, day: date) -> str:
    return f"{config.name}.retrain-{day.isoformat()}"


def _tell(found: Survey, say: Callable[[str], None]) -> None:
    for one in found.decisions:
        say(f"{one.task}: {'adapt' if one.adapt else 'keep'}: {one.why}")
    if found.pretrain is not None:
        say(f"the shared prompt is trained again: {found.pretrain}")


def _graph(found: Survey, registry: PromptRegistry, day: date) -> RunGraph:
    """The run that does what was decided."""
    whole = found.graph
    adapt = whole.config.adapt.model_copy(update={"tasks": found.chosen})
    config = whole.config.model_copy(update={"name": _name(whole.config, day), "adapt": adapt})
    if found.pretrain is not None:
        missing = [found.unsound[name] for name in config.pretrain_tasks if name in found.unsound]
        if missing:  # without them the task set would be another one
            raise InputErrors(missing)
        return RunGraph(config, whole.info, whole.tasks)
    tasks = {name: whole.tasks[name] for name in found.chosen}
    given = None
    if config.pretrain is not None:
        assert found.shared is not None
        given = fetch_shared(registry, found.shared, config.run_folder / "shared")
    return RunGraph(config, whole.info, tasks, given)
