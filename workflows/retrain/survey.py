"""What a retraining finds before it does anything: the registry, the present data, and the decision on each task."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.backbone import describe
from pipeline.errors import InputError, InputErrors, raise_all
from pipeline.registry import PromptRegistry
from pipeline.registry.versions.notes import noted_runs, noted_versions
from workflows.config.settings import Config
from workflows.config.sizes import check_sizes
from workflows.retrain.decide import AS_OF, Decision, Fresh, Known, decide
from workflows.retrain.shared import Current, current_shared, why_pretrain
from workflows.stages import comparing
from workflows.stages.code import code_version
from workflows.stages.follows import follows
from workflows.stages.gate import Answering, cannot_answer, rows_payload
from workflows.stages.graph import RunGraph
from workflows.stages.loading import load_tasks

OnEvent = Callable[[Mapping[str, Any]], None]
OF, KEY = "retrain", "retrain_key"
"""Notes on runs and versions: the config's name, and the key of (config, data, date)."""


@dataclass(frozen=True)
class Survey:
    """What is to be done.

    Args:
        graph: of the whole config, with its sound tasks. unsound: task → what is wrong with its data.
        decisions: of the sound tasks to adapt, in the config's order. key: of this config, data and date.
        pretrain: why the shared prompt is trained again; None when it is not. shared: the current one.
        covered: the later date that a retraining was done for already, if one was.
    """

    graph: RunGraph
    unsound: Mapping[str, InputError]
    decisions: tuple[Decision, ...]
    key: str
    pretrain: str | None
    shared: Current | None
    covered: str | None = None

    @property
    def chosen(self) -> tuple[str, ...]:
        """The tasks to adapt anew."""
        return tuple(one.task for one in self.decisions if one.adapt)


def survey(
    config: Config,
    registry: PromptRegistry,
    conditions: Collection[str],
    as_of: date,
    opening: Callable[[RunGraph], Any],
    on_event: OnEvent,
) -> Survey:
    """Looks at everything and decides; changes nothing but caches.

    Args:
        opening: makes a context whose value has `answering`, for the condition "degraded".

    Raises:
        InputError: the backbone or the sizes are wrong, no task is sound, or MLflow does not answer.
    """
    info = describe(config.backbone.model, config.backbone.revision, attention=config.attention)
    tasks, unsound = load_tasks(config, on_event)
    raise_all(check_sizes(config, info))
    names = [name for name in config.adapt_tasks if name in tasks]
    if not names:
        raise InputErrors(unsound.values())
    graph = RunGraph(config, info, tasks)
    key = _key(graph, as_of)
    done = {told["task"]: told for told in noted_runs(registry, KEY, key) if "task" in told}
    later = [told[AS_OF] for told in noted_runs(registry, OF, config.name) if told.get(AS_OF, "") > as_of.isoformat()]
    if later:
        why = f"a retraining for {max(later)} is done, which is later"
        kept = tuple(Decision(name, False, why) for name in names)
        return Survey(graph, unsound, kept, key, None, None, covered=max(later))
    known = {name: Known.of(noted_versions(registry, name)) for name in names}
    fresh: dict[str, Fresh] = {}
    if "degraded" in conditions:
        fresh = _look(graph, registry, known, opening)
    decisions = [
        decide(name, known[name], follows(graph, name), config.retrain, conditions, as_of, fresh.get(name))
        for name in names
    ]
    current = current_shared(registry) if config.pretrain is not None else None
    pretrain = why_pretrain(graph, current)
    if pretrain is not None and {"changed", "always"} & set(conditions):
        decisions = [one if one.adapt else replace(one, adapt=True, why=pretrain) for one in decisions]
    decisions = [_once(one, done, as_of) for one in decisions]
    if not any(one.adapt for one in decisions):
        pretrain = None
    return Survey(graph, unsound, tuple(decisions), key, pretrain, current)


def _once(one: Decision, done: Mapping[str, Mapping[str, str]], as_of: date) -> Decision:
    """What was done for this config, data and date is not done again."""
    if one.adapt and one.task in done:
        return replace(one, adapt=False, why=f"done for {as_of.isoformat()} already, with the same config and data")
    return one


def _key(graph: RunGraph, as_of: date) -> str:
    """Of (config, data, date). Where things are kept and how many workers there are does not count."""
    apart = {"storage", "launcher", "registry", "retrain", "trunk", "compare"}
    parts = {
        "config": graph.config.model_dump(mode="json", exclude=apart),
        "data": {name: dict(task.fingerprints) for name, task in graph.tasks.items()},
        "backbone": graph.info.fingerprint,
        "code": code_version(),
        "date": as_of.isoformat(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _look(
    graph: RunGraph, registry: PromptRegistry, known: Mapping[str, Known], opening: Callable[[RunGraph], Any]
) -> dict[str, Fresh]:
    """How each champion does on the present dev rows; only those whose rows changed answer anything."""
    fresh: dict[str, Fresh] = {}
    told: dict[str, dict[str, Any]] = {}
    recorded: dict[str, float] = {}
    cache = graph.config.cache_folder
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="champions-", dir=cache))
    try:
        for name, one in known.items():
            if one.champion is None:
                continue
            shown = registry.show(f"{name}@v{one.champion.version}")
            metric, why = graph.tasks[name].metric, cannot_answer(graph, name, shown.manifest)
            if why is not None:
                fresh[name] = Fresh(
                    why=f"degraded: v{shown.version} cannot answer the present rows: {why}", cannot=True
                )
            elif shown.manifest.data["dev"] == graph.tasks[name].fingerprints["dev"]:
                fresh[name] = Fresh(why="not degraded: the dev rows are those it was trained with")
            elif metric not in shown.manifest.metrics.get("dev", {}):
                fresh[name] = Fresh(why=f"not known to be degraded: v{shown.version} has no dev {metric} on record")
            else:
                recorded[name] = shown.manifest.metrics["dev"][metric]
                folder = registry.get(f"{name}@v{shown.version}", scratch / name)
                told[name] = {**rows_payload(graph, name, "dev"), "artifacts": {"champion": str(folder)}}
        if told:
            with opening(graph) as driver:
                fresh |= _scored(driver.answering, told, recorded)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return fresh


def _scored(
    answering: Answering, told: Mapping[str, Mapping[str, Any]], recorded: Mapping[str, float]
) -> dict[str, Fresh]:
    found = {}
    for name, (value, error) in zip(told, answering(comparing.look, list(told.values())), strict=True):
        if error is None:
            found[name] = Fresh(recorded[name], value["champion"])
        else:
            found[name] = Fresh(why=f"not known to be degraded: the champion could not be scored: {error}")
    return found
