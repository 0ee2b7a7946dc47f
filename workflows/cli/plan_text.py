"""A plan for people: what will happen, why, and what it costs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.tasks import SPLITS
from workflows.cli.tables import cell, columns
from workflows.plan.records import Plan, StagePlan
from workflows.words import amount, span


def render(plan: Plan, console: Console) -> None:
    """Prints a plan."""

    def say(line: str = "") -> None:
        console.print(line, markup=False, soft_wrap=True)

    say(f"run {plan.name} in {plan.folder}, launcher {plan.launcher}, registry {plan.registry}")
    say(
        f"backbone {plan.backbone} ({plan.kind}, context {plan.context or 'unbounded'}): "
        f"{plan.frozen:,} frozen parameters, {amount(plan.frozen_bytes)} in {plan.dtype}"
    )
    say(f"sharding {plan.sharding}: {plan.sharding_reason}")
    say(f"prompts: {plan.method}")
    parts = ", ".join(f"{what} {count:,} ({amount(4 * count)})" for what, count in plan.trainable.items() if count)
    say(f"trainable parameters of {plan.prompts} prompts and their heads: {parts}")
    say()
    console.print(_tasks(plan))
    held_out = [task.name for task in plan.tasks if not task.pretrained]
    if held_out and len(held_out) < len(plan.tasks):
        say(f"  pretraining does not see {', '.join(held_out)}")
    if plan.share < 1:
        say(f"  halving: the candidates take at most {plan.share:.0%} of the steps that all of them would take")
    for task in plan.tasks:
        if any(task.truncated.values()):
            say(f"  {task.name}: rows cut because they are too long: {cell(task.truncated)}")
        for note in task.notes:
            say(f"  {task.name}: {note}")
    say()
    console.print(_stages(plan))
    say()
    memory = ", ".join(f"{amount(size)} per {room} worker" for room, size in plan.memory.items())
    say(f"estimate: about {span(plan.seconds)} of computing at {plan.speed / 1e9:.0f} GFLOP/s; memory {memory};")
    say(
        f"          disk {amount(plan.disk)} of {amount(plan.free_disk)} free. Starting workers and MLflow come on top."
    )
    if any(any(task.first_layers) for task in plan.tasks):
        say(_trunk(plan))
    for line in _as_a_job(plan):
        say(line)


def _as_a_job(plan: Plan) -> list[str]:
    """How the folders that the config names would reach a cluster."""
    sent = {place.path: place.bytes or 0 for place in plan.places if place.how == "sent"}
    lines = [f"{len(sent)} folders ({amount(sum(sent.values()))}) travel with the job"] if sent else []
    lines += [f"{place.what}: {place.path} {place.words}" for place in plan.places if place.how != "sent"]
    lines += [f"it could not be sent: {problem}" for problem in plan.unsendable]
    return [f"as a job (deepprompt submit): {line}" for line in lines]


def _trunk(plan: Plan) -> str:
    """What becomes of the layers below the prompts."""
    if plan.trunk_folder is None:
        return "trunk: not cached (trunk: null); the layers below the prompts are computed in every step"
    needed, limit = f"trunk: {amount(plan.trunk_bytes)} of activations", f"trunk.max_bytes, {amount(plan.trunk_limit)},"
    if plan.trunk_fits:
        return f"{needed} below the prompts are cached in {plan.trunk_folder}; {limit} has room for them"
    return f"{needed} below the prompts do not fit {limit} in {plan.trunk_folder}: some are computed again and again"


def _tasks(plan: Plan) -> Table:
    headers = ["task", "type", "labels", "train/dev/test", "tokens", "longest", "candidates", "first layers"]
    rows = [
        [
            *(task.name, task.type, task.labels, "/".join(str(task.rows[split]) for split in SPLITS)),
            *(sum(task.tokens.values()), task.longest),
            f"{task.candidates} of {' '.join(map(str, task.lengths))}" if task.candidates else "-",
            " ".join(map(str, task.first_layers)) or "-",
        ]
        for task in plan.tasks
    ]
    return columns(headers, rows)


def _stages(plan: Plan) -> Table:
    rows: list[list[Any]] = []
    for stage in plan.stages:
        time = "-" if stage.skipped else span(stage.seconds) if stage.seconds >= 0.5 else "0:00"
        rows.append([stage.name, "skip" if stage.skipped else "run", stage.reason, stage.workers, time])
    return columns(["stage", "", "why", "workers", "about"], _folded(plan.stages, rows))


def _folded(stages: tuple[StagePlan, ...], rows: list[list[Any]]) -> list[list[Any]]:
    """Many tasks that stand alike take one line per room."""
    counts = Counter((stage.name.split("/")[0], stage.status, stage.reason) for stage in stages)
    folded: list[list[Any]] = []
    told = set()
    for stage, row in zip(stages, rows, strict=True):
        key = (stage.name.split("/")[0], stage.status, stage.reason)
        if counts[key] == 1:
            folded.append(row)
        elif key not in told:
            told.add(key)
            alike = [other for other in stages if (other.name.split("/")[0], other.status, other.reason) == key]
            seconds = sum(other.seconds for other in alike)
            folded.append([f"{key[0]}/… ({counts[key]} tasks)", *row[1:4], "-" if stage.skipped else span(seconds)])
    return folded
