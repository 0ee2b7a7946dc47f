"""Before an alias moves: champion and challenger answer the same rows, and the config's bounds decide.

A task's `champion`, `ensemble` and `distilled` are gated alike, all in one batch. The rows are those of dev unless the
config says test: choosing a champion is a choice, and test is for telling what was chosen (README, "what always
holds"). The winner was picked on these very dev rows and looks a little too good on them; so was the champion in its
time, and `min_gain` is there to ask for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.registry import Manifest, PromptRegistry, load_artifact
from pipeline.training.choice.gate import Bounds, Comparison, Discordant, judge
from workflows.stages import comparing
from workflows.stages.graph import RunGraph
from workflows.stages.verdicts import SAME, Verdict

Work = Callable[[Any, Mapping[str, Any], Any], Any]
Answering = Callable[[Work, Sequence[Mapping[str, Any]]], list[tuple[Any, str | None]]]
"""Runs a function of a worker on payloads; for each its value, and its error where it failed."""


@dataclass(frozen=True)
class Contender:
    """A new version before an alias that may move to it.

    Args:
        alias: which. folder: the new artifact. version: its number. champion: the alias's present version, if any.
    """

    task: str
    alias: str
    folder: Path
    version: int
    champion: int | None


class Gate:
    """The gate of one run.

    Args:
        answering: takes the comparisons to the workers that have the backbone.
        folder: where champions are put for the workers; on a cluster it lies on shared storage.
    """

    def __init__(self, graph: RunGraph, registry: PromptRegistry, answering: Answering, folder: Path) -> None:
        self.graph, self.registry, self.answering, self.folder = graph, registry, answering, folder

    def judge(self, contenders: Sequence[Contender]) -> tuple[list[Verdict], dict[str, str]]:
        """A verdict for each contender; of tasks whose comparison failed, why instead."""
        verdicts: list[Verdict] = []
        waiting: dict[str, list[Contender]] = {}
        for one in contenders:
            found = self._without_comparing(one)
            if found is not None:
                verdicts.append(found)
            else:
                waiting.setdefault(one.task, []).append(one)
        told = [self._payload(task, own) for task, own in waiting.items()]
        failed: dict[str, str] = {}
        for (task, own), (value, error) in zip(waiting.items(), self.answering(comparing.compare, told), strict=True):
            if error is not None:
                failed[task] = error
            else:
                verdicts += [self._compared(one, value[one.alias]) for one in own]
        return [one for one in verdicts if one.task not in failed], failed

    def _without_comparing(self, one: Contender) -> Verdict | None:
        settings = self.graph.config.gate_for(one.task)

        def verdict(decision: str, reason: str) -> Verdict:
            return Verdict(one.task, one.alias, decision, reason, one.version, one.champion, settings.split)

        if one.champion is None:
            return verdict("promote", "the first one")
        if one.champion == one.version:
            return verdict(SAME, "training made the same prompt again")
        try:
            old = self._fetched(one)
        except InputError as error:
            return verdict(settings.incomparable, f"v{one.champion} cannot be read: {error.what}")
        why = cannot_answer(self.graph, one.task, old)
        if why is not None:
            return verdict(settings.incomparable, f"v{one.champion} cannot be compared: {why}")
        return None

    def _fetched(self, one: Contender) -> Manifest:
        place = self._place(one)
        if not place.is_dir():
            self.registry.get(f"{one.task}@v{one.champion}", place)
        return load_artifact(place).manifest

    def _place(self, one: Contender) -> Path:
        return self.folder / one.task / f"v{one.champion}"

    def _payload(self, task: str, own: Sequence[Contender]) -> dict[str, Any]:
        settings = self.graph.config.gate_for(task)
        artifacts = {f"{one.alias} v{one.champion}": str(self._place(one)) for one in own}
        artifacts |= {f"{one.alias} v{one.version}": str(one.folder) for one in own}
        return {
            **rows_payload(self.graph, task, settings.split),
            "artifacts": artifacts,
            "pairs": {one.alias: (f"{one.alias} v{one.champion}", f"{one.alias} v{one.version}") for one in own},
            "how": {
                "confidence": settings.confidence,
                "resamples": settings.resamples,
                "seed": self.graph.config.seed,
            },
        }

    def _compared(self, one: Contender, plain: Mapping[str, Any]) -> Verdict:
        settings = self.graph.config.gate_for(one.task)
        mcnemar = plain["mcnemar"]
        found = Comparison(
            **{
                **plain,
                "interval": tuple(plain["interval"]),
                "mcnemar": None if mcnemar is None else Discordant(**mcnemar),
            }
        )
        bounds = Bounds(settings.min_gain, settings.max_loss)
        decision, reason = judge(found, bounds)
        rows = self.graph.tasks[one.task].fingerprints[settings.split]
        evidence = {**found.as_json(), **asdict(bounds), "split": settings.split, "rows_sha256": rows}
        return Verdict(one.task, one.alias, decision, reason, one.version, one.champion, settings.split, evidence)


def cannot_answer(graph: RunGraph, task: str, old: Manifest) -> str | None:
    """Why a version cannot answer the present rows of its task; None where it can."""
    own = graph.tasks[task]
    if old.backbone.fingerprint != graph.info.fingerprint:
        return f"it was made for another backbone ({old.backbone.name}, not {graph.info.name})"
    if old.task is None or old.task.type != own.spec.type:
        return f"it answers another type of task ({old.task.type if old.task else 'none'}, not {own.spec.type})"
    if old.task.labels != own.labels:
        gone, new = sorted({*old.task.labels} - {*own.labels}), sorted({*own.labels} - {*old.task.labels})
        parts = [f"{len(new)} are new: {', '.join(new[:3])}"] if new else []
        parts += [f"{len(gone)} are gone: {', '.join(gone[:3])}"] if gone else []
        return f"it has other labels ({'; '.join(parts)})"
    return None


def rows_payload(graph: RunGraph, task: str, split: str) -> dict[str, Any]:
    """Where a worker finds a split's rows: the checked ones in the storage's cache, memory-mapped."""
    own = graph.tasks[task]
    return {
        "task": task,
        "split": split,
        "metric": own.metric,
        "target": own.kind.target[0],
        "rows": own.splits[split].cache_files[0]["filename"],
    }
