"""From what the stages found to artifacts: the shared prompt, each task's winner, each task's ensemble."""

from __future__ import annotations

from collections import Counter
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
from pipeline.training.candidates import Trained
from pipeline.training.pretraining.similarity import nearest_source
from pipeline.training.results import load_shared, load_trained
from workflows.stages.code import code_version
from workflows.stages.graph import RunGraph
from workflows.stages.payloads import DISTILLED
from workflows.stages.stage import read_record

WINNER = "artifact"
"""The folder, inside a stage's, of the one prompt it made or chose."""
ENSEMBLE = "ensemble"
"""The folder of a task's ensemble, inside its evaluate stage's."""


def save_shared_artifact(graph: RunGraph, folder: Path) -> Artifact:
    """Makes an artifact of the shared prompt in `folder`, the pretrain stage's."""
    shared = load_shared(folder)
    data = {f"{name}/train": graph.tasks[name].fingerprints["train"] for name in graph.pretrain_stage_tasks}
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
    members = (
        [Member(shared.own[name]) for name in graph.config.pretrain_tasks] if shared.own else [Member(shared.prompt)]
    )
    return save_artifact(folder / WINNER, members, facts)


def save_task_artifacts(graph: RunGraph, name: str, folder: Path) -> None:
    """Makes artifacts of a task's winner, its ensemble and its distilled prompt in `folder`, the evaluate stage's."""
    scores = read_record(folder / "scores.json")
    assert scores is not None
    trained = load_trained(graph.stages[f"adapt/{name}"].folder(graph.folder))
    metric = scores["metric"]
    winner = scores["winner"]
    single = _save(graph, name, folder / WINNER, [trained[winner["number"]]], {}, winner, metric)
    together = single
    ensemble, distilled = scores["ensemble"], scores["distilled"]
    if ensemble is not None and len(set(ensemble["members"])) > 1:
        votes = Counter(ensemble["members"])  # a member that counts twice is computed once
        how = {"combine": ensemble["combine"], "votes": tuple(votes.values()) if max(votes.values()) > 1 else None}
        members = [trained[n] for n in votes]
        own = [single] if winner["number"] in votes else []  # the one member that is registered by itself
        together = _save(graph, name, folder / ENSEMBLE, members, how, ensemble, metric, own)
    if distilled is not None:
        (learnt,) = load_trained(graph.stages[f"ensemble/{name}"].folder(graph.folder) / DISTILLED)
        _save(graph, name, folder / DISTILLED, [learnt], {}, distilled, metric, [together])


def _save(
    graph: RunGraph,
    name: str,
    folder: Path,
    chosen: Sequence[Trained],
    together: Mapping[str, Any],
    figures: Mapping[str, Any],
    metric: str,
    made_from: Sequence[Artifact] = (),
) -> Artifact:
    """Saves prompts of a task as one artifact.

    Args:
        made_from: artifacts of the same task that this one holds or has learnt from.
    """
    prepared = PreparedTask.load(graph.stages[f"prepare/{name}"].folder(graph.folder))
    how = graph.config.adapt_for(name).model_dump(mode="json", exclude={"workers", "room", "checkpoint_every", "tasks"})
    candidates = [{**asdict(one.candidate), "step": one.step} for one in chosen]
    facts = Facts(
        name=name,
        kind="task",
        task=_identity(graph, prepared),
        data=dict(prepared.fingerprints),
        metrics={"dev": {metric: figures["dev"]}, "test": figures["test"]},
        training={
            "adapt": how,
            "candidates": candidates,
            "seed": graph.config.seed,
            "code": code_version(),
            **_retrieved(graph, name, chosen),
        },
        parents=(
            *_parents(graph, chosen),
            *(Parent(kind="task", name=name, fingerprint=one.manifest.fingerprint) for one in made_from),
        ),
        threshold=figures["threshold"],
        **together,
        **{**_common(graph), "pooling": graph.pooling_of(name)},
    )
    return save_artifact(folder, [Member(one.prompt, one.weight, one.bias) for one in chosen], facts)


def _identity(graph: RunGraph, prepared: PreparedTask) -> TaskIdentity:
    """The task's identity; a limit of tokens that leaves input prompts their room holds for prediction, too."""
    identity, context = TaskIdentity.of(prepared), graph.text_context
    if graph.config.prompt.deep or context is None:
        return identity
    return identity.model_copy(update={"max_tokens": min(context, identity.max_tokens or context)})


def _parents(graph: RunGraph, chosen: Sequence[Trained]) -> tuple[Parent, ...]:
    """The shared prompt, if any of the prompts started from it."""
    if not any(one.candidate.start == "shared" for one in chosen):
        return ()
    assert graph.shared_folder is not None
    shared = load_artifact(graph.shared_folder / WINNER)
    return (Parent(kind="shared", name=SHARED_PROMPT, fingerprint=shared.manifest.fingerprint),)


def _retrieved(graph: RunGraph, name: str, chosen: Sequence[Trained]) -> dict[str, str]:
    """Of a retrieval, the source task whose prompt this task's began with."""
    if graph.shared_folder is None or not any(one.candidate.start == "shared" for one in chosen):
        return {}
    shared = load_shared(graph.shared_folder)
    return {"retrieved": nearest_source(name, shared.similarity, graph.config.pretrain_tasks)} if shared.own else {}


def _common(graph: RunGraph) -> dict[str, Any]:
    return {
        "layers": graph.info.layers,
        "sites": None if len(graph.info.standing) == graph.info.layers else graph.info.standing,
        "width": graph.info.width,
        "pooling": graph.pooling,
        "method": graph.config.prompt.method,
        "layout": graph.config.prompt.layout,
        "backbone": BackboneIdentity.of(graph.info, graph.dtype),
    }
