"""What a checked run would do and cost: sizes, memory, stages with why they run, seconds."""

from __future__ import annotations

from statistics import mean

from pipeline.backbone import ShardingChoice
from pipeline.prompts import encoder_parameters
from pipeline.tasks import Task
from workflows.config.settings import Config
from workflows.doctor.preflight import check_disk
from workflows.machine import look_at_machine
from workflows.plan import estimate
from workflows.plan.memory import memory_of_workers
from workflows.plan.records import Plan, StagePlan, TaskPlan
from workflows.plan.travel import places_of
from workflows.plan.work import Encoded, Work
from workflows.stages.graph import RunGraph


class Planner:
    """Counts, for one checked and encoded run."""

    def __init__(self, graph: RunGraph, encoded: Encoded) -> None:
        self.graph, self.config, self.info = graph, graph.config, graph.info
        self.encoded = encoded
        self.work = Work(graph, encoded)
        self.machine = look_at_machine()
        self.group = self._group_workers()
        self.pool = self.machine.pool_workers(self.config.adapt.workers, self.config.launcher, graph.backbone_bytes)
        self.speed = estimate.measure_speed(graph.dtype, graph.info.width)

    def plan(self, registry: str) -> Plan:
        choice = self._sharding()
        tasks = tuple(self._task(name) for name in self.encoded)
        stages = self._stages(choice)
        trainable = {"shared prompt": self._shared(), "candidates": sum(task.trainable for task in tasks)}
        tokens = sum(count for task in tasks for count in task.tokens.values())
        disk = estimate.disk_bytes(tokens, sum(trainable.values()), sum(trainable.values())) + self._trunk_on_disk()
        trunk = self.config.trunk
        places, unsendable = places_of(self.config)
        return Plan(
            name=self.config.name,
            folder=str(self.config.run_folder),
            launcher=self.config.launcher,
            backbone=self.info.name,
            family=self.info.family,
            kind=self.info.words,
            dtype=self.graph.dtype,
            layers=self.info.layers,
            context=self.info.context,
            frozen=self.info.parameters,
            frozen_bytes=self.graph.backbone_bytes,
            method=self._method(),
            shared_prompt=self.config.prompt.length if self.config.pretrain is not None else 0,
            trainable=trainable,
            prompts=("pretrain" in self.graph.stages) + sum(task.candidates for task in tasks),
            sharding=choice.kind if choice else "none",
            sharding_reason=choice.reason if choice else "nothing is pretrained",
            registry=registry,
            tasks=tasks,
            stages=stages,
            speed=self.speed,
            seconds=sum(stage.seconds for stage in stages),
            memory=memory_of_workers(self.graph, self.work, self.group, self.machine.gpus, choice),
            disk=disk,
            free_disk=check_disk(self.config.run_folder, disk),
            trunk_bytes=sum(map(self.work.trunk_bytes, self.config.adapt_tasks)) if trunk is not None else 0,
            trunk_limit=trunk.max_bytes if trunk is not None else 0,
            trunk_folder=str(self.config.trunk_folder) if trunk is not None else None,
            places=places,
            unsendable=unsendable,
        )

    def _method(self) -> str:
        """The method with what was chosen of it: p_tuning at {3} text {2}, trained through bilstm+mlp."""
        recipe, pretrain = self.config.prompt.recipe, self.config.pretrain
        said = recipe.method + (f" at {recipe.layout}" if recipe.layout is not None else "")
        said += f", in the attention of kind {', '.join(self.info.attention)}" if self.info.decodes else ""
        said += f", trained through {recipe.encoder}" if recipe.encoder != "identity" else ""
        template, head = self.config.prompt.worded, self.config.prompt.answering
        said += f", rows as {template}" if template is not None else ""
        said += ", answered by label words" if head == "verbalizer" else ""
        if pretrain is None or pretrain.kind == "shared":
            return said
        return f"{said}; pretraining by {pretrain.kind}" + (", from a teacher per task" if pretrain.distil else "")

    def _trunk_on_disk(self) -> int:
        """Bytes of activations that the adaptation still to be done adds to the run's disk."""
        trunk, standings = self.config.trunk, self.graph.standings()
        if trunk is None:
            return 0
        waiting = [name for name in self.config.adapt_tasks if not standings[f"adapt/{name}"].skipped]
        added = min(trunk.max_bytes, sum(map(self.work.trunk_bytes, waiting)))
        check_trunk(self.config, added)
        return added if trunk.folder is None else 0

    def _group_workers(self) -> int:
        pretrain = self.config.pretrain
        return self.machine.group_workers(pretrain.workers, self.config.launcher) if pretrain is not None else 0

    def _sharding(self) -> ShardingChoice | None:
        if "pretrain" not in self.graph.stages:  # none is wanted, or it is there already
            return None
        return self.machine.sharding(self.graph, self.group)

    def _task(self, name: str) -> TaskPlan:
        task, splits = self.graph.tasks[name], self.encoded[name]
        adapted = name in self.config.adapt_tasks
        candidates = self.graph.candidates(name) if adapted else []
        head = self._head(name)
        prompts = sum(self._prompt(one.length, one.first_layer) for one in candidates)
        return TaskPlan(
            name=name,
            type=task.spec.type,
            metric=task.metric,
            labels=len(task.labels),
            rows={split: len(encoded) for split, encoded in splits.items()},
            tokens={split: int(encoded.tokens.sum()) for split, encoded in splits.items()},
            truncated={split: encoded.truncated for split, encoded in splits.items()},
            longest=max(int(encoded.lengths.max()) for encoded in splits.values()),
            pretrained=name in self.config.pretrain_tasks,
            candidates=len(candidates),
            lengths=tuple(dict.fromkeys(one.length for one in candidates)),
            first_layers=self.graph.first_layers(name) if adapted else (),
            share=mean(self.work.shares(name)) if adapted else 1.0,
            trainable=prompts + head * len(candidates),
            notes=(*task.notes, *self._written(task)),
        )

    def _written(self, task: Task) -> list[str]:
        """What is done otherwise for a task that is written."""
        how = task.spec.writing
        if how is None:
            return []
        search = f"{how.beams} beams" if how.beams > 1 else "greedy"
        notes = [
            "searched by the likelihood of the references; "
            f"{task.metric} is of texts written at the end ({search}, at most {how.max_new_tokens} tokens)"
        ]
        if self.config.ensemble is not None:
            notes.append("no ensemble: a text is written by one prompt, token after token")
        return notes

    def _shared(self) -> int:
        """Numbers of the shared prompt and of the heads that pretraining trains with it."""
        pretrain, names = self.config.pretrain, self.graph.pretrain_stage_tasks
        if pretrain is None or "pretrain" not in self.graph.stages:  # or it is there already
            return 0
        heads = sum(map(self._head, names))
        length, first = self.config.prompt.length, self.graph.first_layer
        prompt = self._prompt(length, first)
        if pretrain.kind == "retrieval":
            return len(names) * prompt + heads
        factor = length + self._prompt(1, first) if pretrain.kind == "factors" else 0
        return (prompt + len(names) * factor + heads) + pretrain.distil * (len(names) * prompt + heads)

    def _head(self, name: str) -> int:
        """Numbers of a task's head; words of the vocabulary have none."""
        task = self.graph.tasks[name]
        return 0 if task.spec.head == "verbalizer" or task.kind.written else self.graph.head_numbers(name)

    def _prompt(self, length: int, first_layer: int) -> int:
        """Numbers that training one prompt takes, its encoder's."""
        shape = self.info.prompt_shape(length, first_layer, self.config.prompt.deep)
        return encoder_parameters(self.config.prompt.recipe.encoder, shape, self.info.width)

    def _stages(self, choice: ShardingChoice | None) -> tuple[StagePlan, ...]:
        workers = {"pretrain": self.group, "adapt": self.pool, "ensemble": self.pool, "evaluate": self.pool}
        rows = []
        for name, standing in self.graph.standings().items():
            stage = self.graph.stages[name]
            work = 0.0 if standing.skipped else self.work.operations(stage.room, stage.task)
            # On a processor the workers share its cores, so more of them are no faster.
            side_by_side = min(workers.get(stage.room, 1), self.machine.gpus) or 1
            rows.append(
                StagePlan(
                    name,
                    standing.status.value,
                    standing.reason,
                    standing.skipped,
                    workers.get(stage.room, 1),
                    work / self.speed / side_by_side + self._waiting(stage.room, choice),
                )
            )
        return tuple(rows)

    def _waiting(self, room: str, choice: ShardingChoice | None) -> float:
        """Seconds in which a stage's workers wait for sharded weights."""
        pretrain = self.config.pretrain
        if room != "pretrain" or pretrain is None or choice is None or choice.kind != "zero3":
            return 0.0
        device = "cuda" if self.machine.gpus else "cpu"
        return pretrain.steps * estimate.gathering(self.graph.backbone_bytes, self.group, device)


def check_trunk(config: Config, needed: int) -> None:
    """A trunk folder of the user's choice may be on another disk; else it is on the run's."""
    if config.trunk is not None and config.trunk.folder is not None and config.trunk_folder is not None:
        check_disk(config.trunk_folder, needed, where="trunk.folder")
