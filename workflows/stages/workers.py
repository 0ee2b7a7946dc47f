"""What runs in a worker: plain functions of plain payloads, the same in one process, an actor or a group.

Each writes its results into the stage's unfinished folder; the driver alone makes a stage done and talks to MLflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from pipeline.backbone import Backbone, describe
from pipeline.prompts import COMBINATIONS, Recipe
from pipeline.tasks import PreparedTask
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.distil import DistilSettings, distil
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate, Trained
from pipeline.training.choice.greedy import choose_ensemble
from pipeline.training.choice.select import best_cell, choose_winner, ranked
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.pretraining.shared import PretrainSettings, SharedPrompt
from pipeline.training.pretraining.similarity import nearest_source
from pipeline.training.results import load_shared, load_trained, save_shared, save_trained
from pipeline.training.starts import Start, mean_factor
from pipeline.training.world import World, save_json
from workflows.stages.confidence import confidence
from workflows.stages.replica import Payload, Replica, open_backbone


def pretrain(payload: Payload, world: World) -> dict[str, Any]:
    """Trains the shared prompt on one rank of a group; rank 0 writes it."""
    world.event(stage="pretrain", done=0, total=payload["settings"]["steps"], note="loading the backbone")
    if payload["sharding"] == "zero3":
        from pipeline.backbone.zero3 import load_sharded  # DeepSpeed comes with it

        of = payload["backbone"]
        info = describe(of["model"], of["revision"], attention=of["attention"])
        backbone: Backbone = load_sharded(info, of["dtype"], of["checkpointing"])
    else:
        backbone = open_backbone(payload["backbone"])
    if payload["vocabulary"]:
        backbone.open_vocabulary()
    before = backbone.checksum()
    tasks = {name: PreparedTask.load(Path(folder)) for name, folder in payload["tasks"].items()}
    recipe, _, source = _prompt(payload["prompt"])
    training = Pretraining(backbone, tasks, PretrainSettings(**payload["settings"]), world, recipe, source)
    shared = training.run()
    after = backbone.checksum()
    if after != before:
        raise RuntimeError("the backbone was written during pretraining; its result is not to be trusted")
    if world.rank == 0:
        save_shared(Path(payload["out"]), shared)
    return {"backbone_checksum": after, "loss": shared.curve[-1][1] if shared.curve else None, "workers": world.size}


def _prompt(payload: Payload) -> tuple[Recipe, str, torch.Tensor | None]:
    """How prompts are made, where fresh ones start, and the prompt that the initialiser `prompt` takes."""
    source = None
    if payload["source"] is not None:
        from pipeline.registry import load_artifact

        source = load_artifact(Path(payload["source"])).members[0].prompt
    return Recipe(**payload["recipe"]), payload["init"], source


def start_of(payload: Payload, shared: SharedPrompt | None, task: str, sources: Sequence[str]) -> Start:
    """Where a task's candidates start: the shared prompt, with the task's factor, or the most similar source's."""
    recipe, init, source = _prompt(payload)
    if shared is None:
        return Start(None, {}, init, recipe, source=source)
    prompt, factor = shared.prompt, None
    if shared.own:
        prompt = shared.own[nearest_source(task, shared.similarity, sources)]
    if shared.factors:
        factor = shared.factors.get(task) or mean_factor(list(shared.factors.values()))
    return Start(prompt, shared.heads, init, recipe, factor, source)


def adapt(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Trains a cohort; each search's candidates go to the folder of their own."""
    shared = load_shared(Path(payload["shared"])) if payload["shared"] else None
    sources = payload["sources"]
    searches = [
        Search(
            PreparedTask.load(Path(one["task"])),
            [Candidate(**candidate) for candidate in one["candidates"]],
            start_of(payload["prompt"], shared, one["name"], sources),
            SearchSettings(**one["settings"]),
        )
        for one in payload["searches"]
    ]
    settings = CohortSettings(replica.pooling, payload["room"], payload["checkpoint_every"])
    cohort = Cohort(replica.backbone, searches, settings, world, replica.trunks)
    found = cohort.run()
    replica.check()
    told: dict[str, Any] = {}
    for one, search, trained in zip(payload["searches"], searches, found, strict=True):
        out = Path(one["out"])
        out.mkdir(parents=True, exist_ok=True)
        save_trained(out, trained)
        best = trained[ranked(trained)[0]]
        trunk = [replica.trunks.notes.get(f"{search.task.name}/{split}") for split in ("train", "dev")]
        told[search.task.name] = {
            "candidates": len(trained),
            "best": best.candidate.name,
            "dev": best.score,
            "trunk": "; ".join(note for note in trunk if note),
        }
    return {"padding": round(cohort.padding.fraction, 4), "tasks": told}


def ensemble(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Chooses the members of a task's ensemble, and how they are combined, on dev; teaches one prompt, if asked to."""
    task = PreparedTask.load(Path(payload["task"]))
    trained = load_trained(Path(payload["trained"]))
    answers = replica.answer(task, "dev", trained, world, "ensemble")
    rows_of = SplitRows(task, "dev")
    chosen = choose_ensemble(
        ranked(trained),
        answers.probabilities,
        answers.evidence(task.right("dev")),
        answers.offsets,
        payload["size"],
        lambda told, rows: rows_of.judge(told, rows=rows).score,
        task.kind.combinations,
    )
    result = {
        "members": list(chosen.members),
        "combine": chosen.combine,
        "dev": chosen.score,
        "held_out": chosen.held_out,
    }
    save_json(Path(payload["out"]) / "ensemble.json", result)
    if payload["distil"] is not None and len(chosen.members) > 1:
        teachers = [trained[n] for n in chosen.members]
        student = trained[choose_winner(trained, payload["tolerance"])]
        settings = DistilSettings(**payload["distil"], pooling=replica.pooling)
        learnt = distil(replica.backbone, task, teachers, chosen.combine, student, settings, world, replica.trunks)
        replica.check()
        folder = Path(payload["out"]) / "distilled"
        folder.mkdir(exist_ok=True)
        save_trained(folder, [learnt])
    return result


Choose = Callable[[Any], Any]
"""Of all members' probabilities [K, A, C] the ones [A, C] that answer; of their texts [K][R] those [R]."""


def evaluate(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Scores on test, once, what was chosen on dev: winner, ensemble, and every seed of each start's best cell."""
    task = PreparedTask.load(Path(payload["task"]))
    trained = load_trained(Path(payload["trained"]))
    distilled = load_trained(Path(payload["distilled"])) if payload["distilled"] else []
    winner = choose_winner(trained, payload["tolerance"])
    from_scratch = next((n for n in ranked(trained) if trained[n].candidate.start == "scratch"), None)
    cells = {start: best_cell(trained, start) for start in ("shared", "scratch")}
    chosen: Mapping[str, Any] = payload["ensemble"] or {"members": [], "combine": "mean", "dev": None}
    looked_at = [winner, *chosen["members"], *cells["shared"], *cells["scratch"]]
    used = sorted({*looked_at, *([] if from_scratch is None else [from_scratch])})
    all_used = [trained[n] for n in used] + distilled
    # Where answers depend on a threshold, dev chooses it for each of them before test is looked at. Texts are written
    # for dev, too: while they were searched for, prompts were held against each other by likelihood alone.
    look = task.kind.thresholded or task.kind.written
    on_dev = replica.told(task, "dev", all_used, world, "evaluate") if look else None
    on_test = replica.told(task, "test", all_used, world, "evaluate")  # [K, A, C], or [K][R]
    dev_rows, test_rows = SplitRows(task, "dev"), SplitRows(task, "test")
    place = {n: k for k, n in enumerate(used)}

    def threshold_of(chosen: Choose) -> float | None:
        return None if on_dev is None else dev_rows.judge(chosen(on_dev)).threshold

    def score(chosen: Choose) -> dict[str, Any]:
        threshold = threshold_of(chosen)
        return {"threshold": threshold, "test": test_rows.judge(chosen(on_test), threshold).figures}

    def read(chosen: Choose) -> list[Any]:
        return test_rows.read(chosen(on_test), threshold_of(chosen))

    def of_candidate(one: Trained, n: int, k: int) -> dict[str, Any]:
        dev = dev_rows.judge(on_dev[k]).score if task.kind.written and on_dev is not None else one.score
        facts = {"number": n, **vars(one.candidate), "name": one.candidate.name, "dev": dev}
        return {**facts, **score(lambda p: p[k])}

    def of_place(n: int) -> dict[str, Any]:
        return of_candidate(trained[n], n, place[n])

    result: dict[str, Any] = {
        "task": task.name,
        "metric": task.metric,
        "winner": of_place(winner),
        "from_scratch": None if from_scratch is None else of_place(from_scratch),
        "cells": {start: [of_place(n) for n in cell] for start, cell in cells.items()},
        "ensemble": None,
        "distilled": of_candidate(distilled[0], 0, len(used)) if distilled else None,
    }
    told = {"winner": read(lambda p: p[place[winner]])}
    if from_scratch is not None:
        told["from_scratch"] = read(lambda p: p[place[from_scratch]])
    if chosen["members"]:
        members = torch.tensor([place[n] for n in chosen["members"]])
        result["ensemble"] = {**chosen, **score(lambda p: COMBINATIONS[chosen["combine"]](p[members]))}
        told["ensemble"] = read(lambda p: COMBINATIONS[chosen["combine"]](p[members]))
    if distilled:
        told["distilled"] = read(lambda p: p[len(used)])
    seeds = {start: [read(itemgetter(place[n])) for n in cell] for start, cell in cells.items()}
    result["intervals"] = confidence(task.metric, test_rows.gold, told, seeds, task.kind.score)
    save_json(Path(payload["out"]) / "scores.json", result)
    return result
