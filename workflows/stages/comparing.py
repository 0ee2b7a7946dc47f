"""What runs in a worker for the gate: artifacts answer rows as they would in service, and the answers are compared.

Champion, challenger and their ensembles stand in one bank and share each batch; every artifact reads the rows by its
own rules. So what is compared is what would be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets

from pipeline.registry import Predictor, load_artifact
from pipeline.tasks import TASK_TYPES, TaskType
from pipeline.training.choice.gate import compare as compare_answers
from pipeline.training.world import World
from workflows.stages.replica import Payload, Replica

_ROWS_AT_ONCE = 256  # between two signs of progress


def compare(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Each pair of artifacts on the same rows: alias → `Comparison`, plain."""
    kind, gold, answers = _answer(replica, payload, world, "gate")
    how = {**payload["how"], "scorer": kind.score}
    return {
        alias: compare_answers(payload["metric"], gold, answers[old], answers[new], **how).as_json()
        for alias, (old, new) in payload["pairs"].items()
    }


def look(replica: Replica, payload: Payload, world: World) -> dict[str, float]:
    """The score of each artifact, by name."""
    kind, gold, answers = _answer(replica, payload, world, "look")
    metric = payload["metric"]
    return {name: kind.score(metric, gold, answers[name])[metric] for name in answers}


def _answer(
    replica: Replica, payload: Payload, world: World, stage: str
) -> tuple[TaskType, list[Any], dict[str, list[Any]]]:
    """The task's type, the gold answers, and those of each artifact, both as the type scores them."""
    rows: list[dict[str, Any]] = datasets.Dataset.from_file(payload["rows"]).to_list()
    gold = [row.pop(payload["target"]) for row in rows]
    names = list(payload["artifacts"])
    artifacts = {name: load_artifact(Path(folder)) for name, folder in payload["artifacts"].items()}
    identity = next(iter(artifacts.values())).manifest.task
    assert identity is not None
    kind = TASK_TYPES[identity.type]
    predictor = Predictor(replica.backbone, artifacts)
    answers: dict[str, list[Any]] = {name: [] for name in names}
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        world.event(stage=stage, task=payload["task"], done=start, total=len(rows), note=payload["split"])
        some = rows[start : start + _ROWS_AT_ONCE]

        def progress(done: int, total: int, start: int = start) -> None:
            if kind.written:  # its texts take a while
                done = start + done // len(names)
                world.event(stage=stage, task=payload["task"], done=done, total=len(rows), note=payload["split"])

        told = predictor.predict([{**row, "task": name} for row in some for name in names], progress)
        for place, answer in enumerate(told):
            answers[names[place % len(names)]].append(answer[kind.answered])
    world.event(stage=stage, task=payload["task"], done=len(rows), total=len(rows), note=payload["split"])
    return kind, gold, answers
