"""Which searches train in one batch: dealt to the workers once, by what they cost; Ray does the rest.

A cohort is a function of the config and the number of workers, not of which tasks are done already: a resumed run puts
the same searches together as the one that was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.tasks import PreparedTask
from pipeline.training.candidates import Trained
from pipeline.training.results import load_trained, save_trained
from workflows.stages.graph import RunGraph


@dataclass(frozen=True)
class Part:
    """One bracket of a task's search. `candidates` are places in `graph.candidates(task)`."""

    task: str
    bracket: int
    candidates: tuple[int, ...]

    def folder(self, stage: Path) -> Path:
        """Where its results wait in the adapt stage's unfinished folder until all brackets are there."""
        return stage / f"bracket-{self.bracket}"


Cohort = tuple[Part, ...]


def deal(graph: RunGraph, workers: int, waiting: Collection[str]) -> list[Cohort]:
    """The run's searches in at most `workers` cohorts of about equal cost, without the tasks that are done.

    The costliest first, each to the cohort that has the least to do (Graham 1969).
    """
    parts = [
        Part(task, bracket, tuple(own))
        for task in graph.config.adapt_tasks
        for bracket, own in enumerate(graph.brackets(task))
    ]
    cost = {part: _cost(graph, part) for part in parts}
    bins: list[list[Part]] = [[] for _ in range(min(workers, len(parts)))]
    for part in sorted(parts, key=lambda part: -cost[part]):
        min(bins, key=lambda own: sum(cost[other] for other in own)).append(part)
    cohorts = [tuple(part for part in parts if part in own and part.task in waiting) for own in bins]
    return [cohort for cohort in cohorts if cohort]


def checkpoint_folder(graph: RunGraph, cohort: Cohort) -> Path:
    """Where a cohort's checkpoints are: named by all that its training follows from."""
    facts = [(graph.stages[f"adapt/{part.task}"].fingerprint, part.bracket, part.candidates) for part in cohort]
    return graph.folder / ".cohorts" / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def gather(graph: RunGraph, task: str, stage: Path) -> bool:
    """Puts a task's brackets together in its stage's folder once all are there; tells whether they were."""
    brackets = [Part(task, b, tuple(own)) for b, own in enumerate(graph.brackets(task))]
    if not all((part.folder(stage) / "trained.json").exists() for part in brackets):
        return False
    found: dict[int, Trained] = {}
    for part in brackets:
        found |= dict(zip(part.candidates, load_trained(part.folder(stage)), strict=True))
    save_trained(stage, [found[n] for n in sorted(found)])
    for part in brackets:
        shutil.rmtree(part.folder(stage))
    return True


def singly(cohort: Sequence[Part]) -> list[Cohort]:
    """The same searches, task by task: one that fails then fails alone."""
    tasks = dict.fromkeys(part.task for part in cohort)
    return [tuple(part for part in cohort if part.task == task) for task in tasks]


def _cost(graph: RunGraph, part: Part) -> float:
    """What a search takes, in tokens times layers: enough to deal by."""
    settings = graph.config.adapt_for(part.task)
    prepared = PreparedTask.load(graph.stages[f"prepare/{part.task}"].folder(graph.folder))
    candidates = graph.candidates(part.task)
    layers = sum(graph.info.prompted(candidates[n].first_layer) for n in part.candidates)
    return layers * settings.steps * settings.batch_rows * float(prepared.encoded["train"].tokens.mean())
