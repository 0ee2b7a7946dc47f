"""What runs in a worker: plain functions of plain payloads, the same in one process, an actor or a group.

Each writes its results into the stage's unfinished folder; the driver alone makes a stage done and talks to MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone import Backbone, describe, load_backbone
from pipeline.prompts import COMBINATIONS
from pipeline.tasks import PreparedTask
from pipeline.training.answering import answer_together
from pipeline.training.cohort import Candidate, Cohort, CohortSettings, Trained
from pipeline.training.evaluate import score_answers
from pipeline.training.pretrain import Pretraining, PretrainSettings
from pipeline.training.results import load_shared, load_trained, save_shared, save_trained
from pipeline.training.select import best_cell, choose_ensemble, ranked
from pipeline.training.starts import Start
from pipeline.training.world import World, save_json

Payload = Mapping[str, Any]


def open_backbone(payload: Payload) -> Backbone:
    """This worker's backbone, whole, on its device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_backbone(payload["model"], revision=payload["revision"], dtype=payload["dtype"], device=device)


def pretrain(payload: Payload, world: World) -> dict[str, Any]:
    """Trains the shared prompt on one rank of a group; rank 0 writes it."""
    world.event(stage="pretrain", done=0, total=payload["settings"]["steps"], note="loading the backbone")
    if payload["sharding"] == "zero3":
        from pipeline.backbone.zero3 import load_sharded  # DeepSpeed comes with it

        info = describe(payload["backbone"]["model"], payload["backbone"]["revision"])
        backbone: Backbone = load_sharded(info, payload["backbone"]["dtype"])
    else:
        backbone = open_backbone(payload["backbone"])
    before = backbone.checksum()
    tasks = {name: PreparedTask.load(Path(folder)) for name, folder in payload["tasks"].items()}
    training = Pretraining(backbone, tasks, PretrainSettings(**payload["settings"]), world)
    shared = training.run()
    after = backbone.checksum()
    if after != before:
        raise RuntimeError("the backbone was written during pretraining; its result is not to be trusted")
    if world.rank == 0:
        save_shared(Path(payload["out"]), shared)
    return {"backbone_checksum": after, "loss": shared.curve[-1][1] if shared.curve else None, "workers": world.size}


class Replica:
    """One worker's frozen backbone, loaded once, for all the tasks that come to it."""

    def __init__(self, payload: Payload) -> None:
        self.backbone = open_backbone(payload["backbone"])
        self.checksum = self.backbone.checksum()
        self.first_layer: int = payload["first_layer"]
        self.pooling: str = payload["pooling"]

    def answer(self, task: PreparedTask, split: str, trained: list[Trained], world: World, stage: str) -> Any:
        """All candidates on a split in one pass, with progress."""

        def progress(done: int, total: int) -> None:
            world.event(stage=stage, task=task.name, done=done, total=total, note=split)

        return answer_together(
            self.backbone,
            task,
            split,
            trained,
            first_layer=self.first_layer,
            pooling=self.pooling,
            on_batch=progress,
        )


def adapt(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Trains the cohort of one task."""
    task = PreparedTask.load(Path(payload["task"]))
    shared = load_shared(Path(payload["shared"])) if payload["shared"] else None
    start = Start(
        prompt=shared.prompt if shared else None,
        heads=shared.heads if shared else {},
        init=payload["init"],
        first_layer=replica.first_layer,
    )
    candidates = [Candidate(**one) for one in payload["candidates"]]
    settings = CohortSettings(**payload["settings"], pooling=replica.pooling)
    trained = Cohort(replica.backbone, task, candidates, start, settings, world).run()
    if replica.backbone.checksum() != replica.checksum:
        raise RuntimeError("the backbone was written during adaptation; its result is not to be trusted")
    save_trained(Path(payload["out"]), trained)
    best = trained[ranked(trained)[0]]
    return {"candidates": len(trained), "best": best.candidate.name, "dev": best.score}


def ensemble(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Chooses the members of a task's ensemble, and how they are combined, on dev."""
    task = PreparedTask.load(Path(payload["task"]))
    trained = load_trained(Path(payload["trained"]))
    answers = replica.answer(task, "dev", trained, world, "ensemble")

    def dev_score(classes: torch.Tensor) -> float:
        return score_answers(task, "dev", classes, answers.offsets)[task.metric]

    chosen = choose_ensemble(ranked(trained), answers.probabilities, payload["size"], dev_score)
    result = {"members": list(chosen.members), "combine": chosen.combine, "dev": chosen.score}
    save_json(Path(payload["out"]) / "ensemble.json", result)
    return result


def evaluate(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Scores on test, once, what was chosen on dev: winner, ensemble, and every seed of each start's best cell."""
    task = PreparedTask.load(Path(payload["task"]))
    trained = load_trained(Path(payload["trained"]))
    order = ranked(trained)
    winner = order[0]
    from_scratch = next((n for n in order if trained[n].candidate.start == "scratch"), None)
    cells = {start: best_cell(trained, start) for start in ("shared", "scratch")}
    chosen: Mapping[str, Any] = payload["ensemble"] or {"members": [], "combine": "mean", "dev": None}
    looked_at = [winner, *chosen["members"], *cells["shared"], *cells["scratch"]]
    used = sorted({*looked_at, *([] if from_scratch is None else [from_scratch])})
    answers = replica.answer(task, "test", [trained[n] for n in used], world, "evaluate")
    place = {n: k for k, n in enumerate(used)}

    def score(classes: torch.Tensor) -> dict[str, float]:
        return score_answers(task, "test", classes, answers.offsets)

    def of_candidate(n: int) -> dict[str, Any]:
        one = trained[n]
        return {
            "number": n,
            **vars(one.candidate),
            "name": one.candidate.name,
            "dev": one.score,
            "test": score(answers.logits[place[n]].argmax(-1)),
        }

    result: dict[str, Any] = {
        "task": task.name,
        "metric": task.metric,
        "winner": of_candidate(winner),
        "from_scratch": None if from_scratch is None else of_candidate(from_scratch),
        "cells": {start: [of_candidate(n) for n in cell] for start, cell in cells.items()},
        "ensemble": None,
    }
    if chosen["members"]:
        members = torch.tensor([place[n] for n in chosen["members"]])
        combined = COMBINATIONS[chosen["combine"]](answers.probabilities[members])
        result["ensemble"] = {**chosen, "test": score(combined.argmax(-1))}
    save_json(Path(payload["out"]) / "scores.json", result)
    return result
