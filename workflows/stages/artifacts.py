"""From what the stages found to artifacts: the shared prompt, each task's winner, each task's ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.registry import (
    SHARED_PROMPT,
    Artifact,
    BackboneIdentity,
    Facts,
    Member,
    Parent,
    TaskIdentity,
    load_artifact,
    save_artifact,
)
from pipeline.tasks import PreparedTask
from pipeline.training.cohort import Trained
from pipeline.training.results import load_shared, load_trained
from workflows.stages.graph import RunGraph, code_version
from workflows.stages.stage import read_record

WINNER = "artifact"
"""The folder, inside a stage's, of the one prompt it made or chose."""
ENSEMBLE = "ensemble"
"""The folder of a task's ensemble, inside its evaluate stage's."""


def save_shared_artifact(graph: RunGraph, folder: Path) -> Artifact:
    """Makes an artifact of the shared prompt in `folder`, the pretrain stage's."""
    shared = load_shared(folder)
    data = {f"{name}/train": graph.tasks[name].fingerprints["train"] for name in graph.config.pretrain_tasks}
    assert graph.config.pretrain is not None
    training = graph.config.pretrain.model_dump(mode="json", exclude={"workers", "checkpoint_every"})
    facts = Facts(
        name=SHARED_PROMPT,
        kind="shared",
        task=None,
        data=data,
        metrics={"train": {"loss": shared.curve[-1][1]}} if shared.curve else {},
        training={"pretrain": training, "seed": graph.config.seed, "code": code_version()},
        **_common(graph),
    )
    return save_artifact(folder / WINNER, [Member(shared.prompt)], facts)


def save_task_artifacts(graph: RunGraph, name: str, folder: Path) -> None:
    """Makes artifacts of a task's winner and of its ensemble in `folder`, the evaluate stage's."""
    scores = read_record(folder / "scores.json")
    assert scores is not None
    trained = load_trained(graph.stages[f"adapt/{name}"].folder(graph.folder))
    _save(graph, name, folder / WINNER, trained, [scores["winner"]["number"]], None, scores["winner"], scores["metric"])
    ensemble = scores["ensemble"]
    if ensemble is not None and len(ensemble["members"]) > 1:
        chosen, combine = ensemble["members"], ensemble["combine"]
        _save(graph, name, folder / ENSEMBLE, trained, chosen, combine, ensemble, scores["metric"])


def _save(
    graph: RunGraph,
    name: str,
    folder: Path,
    trained: Sequence[Trained],
    members: Sequence[int],
    combine: Any,
    figures: Mapping[str, Any],
    metric: str,
) -> None:
    prepared = PreparedTask.load(graph.stages[f"prepare/{name}"].folder(graph.folder))
    chosen = [trained[n] for n in members]
    how = graph.config.adapt_for(name).model_dump(mode="json", exclude={"workers", "tasks"})
    candidates = [{**asdict(one.candidate), "step": one.step} for one in chosen]
    facts = Facts(
        name=name,
        kind="task",
        combine=combine,
        task=TaskIdentity.of(prepared),
        data=dict(prepared.fingerprints),
        metrics={"dev": {metric: figures["dev"]}, "test": figures["test"]},
        training={"adapt": how, "candidates": candidates, "seed": graph.config.seed, "code": code_version()},
        parents=_parents(graph, chosen),
        **_common(graph),
    )
    save_artifact(folder, [Member(one.prompt, one.weight, one.bias) for one in chosen], facts)


def _parents(graph: RunGraph, chosen: Sequence[Trained]) -> tuple[Parent, ...]:
    """The shared prompt, if any of the prompts started from it."""
    if not any(one.candidate.start == "shared" for one in chosen):
        return ()
    shared = load_artifact(graph.stages["pretrain"].folder(graph.folder) / WINNER)
    return (Parent(kind="shared", name=SHARED_PROMPT, fingerprint=shared.manifest.fingerprint),)


def _common(graph: RunGraph) -> dict[str, Any]:
    return {
        "first_layer": graph.first_layer,
        "width": graph.info.width,
        "pooling": graph.pooling,
        "backbone": BackboneIdentity.of(graph.info, graph.dtype),
    }
