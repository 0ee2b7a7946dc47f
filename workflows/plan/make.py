"""`make_plan`: what a run would do and cost, and all that is wrong with it, without running it.

It reads and encodes the data as the run does (into the same cache) and describes the backbone without loading weights.
No Ray, no DeepSpeed, no MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.backbone import ShardingChoice, choose_sharding, load_tokenizer
from pipeline.errors import InputError, InputErrors, raise_all
from pipeline.tasks import SPLITS, EncodedSplit, Mixture, encode_split
from workflows.config.settings import Config
from workflows.doctor.preflight import check_disk, check_tracking
from workflows.machine import look_at_machine
from workflows.plan import estimate
from workflows.plan.estimate import Pass
from workflows.plan.records import Plan, StagePlan, TaskPlan
from workflows.stages.graph import RunGraph, build_graph

__all__ = ["Plan", "make_plan"]

Encoded = Mapping[str, Mapping[str, EncodedSplit]]


def make_plan(config: Config) -> Plan:
    """Plans a run.

    Raises:
        InputError: all that is wrong with config, data, backbone, tracking address and disk, at once.
    """
    problems: list[InputError] = []
    graph: RunGraph | None = None
    encoded: Encoded = {}
    registry = ""
    try:
        graph = build_graph(config)
        encoded = _encode(graph)
    except InputError as problem:
        problems += _each(problem)
    try:
        registry = check_tracking(config.registry.uri)
        check_disk(config.run_folder, 0)
    except InputError as problem:
        problems.append(problem)
    raise_all(problems)
    assert graph is not None
    return _Planner(graph, encoded).plan(registry)


def _encode(graph: RunGraph) -> Encoded:
    """The encoded splits of the tasks in use, as `prepare` will have them."""
    tokenizer = load_tokenizer(graph.info)
    problems: list[InputError] = []
    encoded: dict[str, dict[str, EncodedSplit]] = {}
    for name, task in graph.tasks.items():
        if f"prepare/{name}" not in graph.stages:
            continue
        try:
            encoded[name] = {
                split: encode_split(
                    task, split, tokenizer, context=graph.info.context, cache_dir=graph.config.cache_folder
                )
                for split in SPLITS
            }
        except InputError as problem:
            problems += _each(problem)
    raise_all(problems)
    return encoded


def _each(problem: InputError) -> list[InputError]:
    return problem.problems if isinstance(problem, InputErrors) else [problem]


class _Planner:
    """Counts, for one checked and encoded run."""

    def __init__(self, graph: RunGraph, encoded: Encoded) -> None:
        self.graph, self.config, self.info = graph, graph.config, graph.info
        self.encoded = encoded
        self.machine = look_at_machine()
        self.group = self._group_workers()
        self.pool = self.machine.pool_workers(self.config.adapt.workers, self.config.launcher, graph.backbone_bytes)
        self.item = graph.backbone_bytes // graph.info.parameters
        self.speed = estimate.measure_speed(graph.dtype, graph.info.width)

    def plan(self, registry: str) -> Plan:
        choice = self._sharding()
        tasks = tuple(self._task(name) for name in self.encoded)
        stages = self._stages(choice)
        trainable = {"shared prompt": self._shared(), "candidates": sum(task.trainable for task in tasks)}
        tokens = sum(count for task in tasks for count in task.tokens.values())
        disk = estimate.disk_bytes(tokens, sum(trainable.values()), sum(trainable.values()))
        return Plan(
            name=self.config.name,
            folder=str(self.config.run_folder),
            launcher=self.config.launcher,
            backbone=self.info.name,
            family=self.info.family,
            dtype=self.graph.dtype,
            layers=self.info.layers,
            context=self.info.context,
            frozen=self.info.parameters,
            frozen_bytes=self.graph.backbone_bytes,
            shared_prompt=self.config.prompt.length if self.config.pretrain is not None else 0,
            trainable=trainable,
            prompts=(self.config.pretrain is not None) + sum(task.candidates for task in tasks),
            sharding=choice.kind if choice else "none",
            sharding_reason=choice.reason if choice else "nothing is pretrained",
            registry=registry,
            tasks=tasks,
            stages=stages,
            speed=self.speed,
            seconds=sum(stage.seconds for stage in stages),
            memory=self._memory(choice),
            disk=disk,
            free_disk=check_disk(self.config.run_folder, disk),
        )

    def _group_workers(self) -> int:
        pretrain = self.config.pretrain
        return self.machine.group_workers(pretrain.workers, self.config.launcher) if pretrain is not None else 0

    def _sharding(self) -> ShardingChoice | None:
        if self.config.pretrain is None:
            return None
        return choose_sharding(
            self.config.backbone.sharding,
            backbone_bytes=self.graph.backbone_bytes,
            workers=self.group,
            memory_per_worker=self.machine.memory_per_worker(self.group),
        )

    def _task(self, name: str) -> TaskPlan:
        task, splits = self.graph.tasks[name], self.encoded[name]
        candidates = self.graph.candidates(name) if name in self.config.adapt_tasks else []
        head = (self.info.width + 1) * len(task.labels)
        prompts = sum(self.info.prompt_parameters(one.length, self.graph.first_layer) for one in candidates)
        return TaskPlan(
            name=name,
            type=task.spec.type,
            metric=task.metric,
            labels=len(task.labels),
            rows={split: len(encoded) for split, encoded in splits.items()},
            tokens={split: int(encoded.lengths.sum()) for split, encoded in splits.items()},
            truncated={split: encoded.truncated for split, encoded in splits.items()},
            longest=max(int(encoded.lengths.max()) for encoded in splits.values()),
            pretrained=name in self.config.pretrain_tasks,
            candidates=len(candidates),
            lengths=tuple(dict.fromkeys(one.length for one in candidates)),
            trainable=prompts + head * len(candidates),
            notes=task.notes,
        )

    def _shared(self) -> int:
        """Numbers of the shared prompt and of the heads that pretraining trains with it."""
        names = self.config.pretrain_tasks
        heads = sum((self.info.width + 1) * len(self.graph.tasks[name].labels) for name in names)
        prompt = self.info.prompt_parameters(self.config.prompt.length, self.graph.first_layer)
        return prompt + heads if names else 0

    def _stages(self, choice: ShardingChoice | None) -> tuple[StagePlan, ...]:
        workers = {"pretrain": self.group, "adapt": self.pool, "ensemble": self.pool, "evaluate": self.pool}
        rows = []
        for name, standing in self.graph.standings().items():
            stage = self.graph.stages[name]
            work = 0.0 if standing.skipped else self._work(stage.room, stage.task)
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

    def _work(self, room: str, task: str | None) -> float:
        """Operations of a stage from its beginning; those of preparing and registering do not count."""
        if room == "pretrain":
            pretrain = self.config.pretrain
            assert pretrain is not None
            return pretrain.steps * estimate.training(self.info, self._pretrain_step())
        if room not in ("adapt", "ensemble", "evaluate") or task is None:
            return 0.0
        lengths = [one.length for one in self.graph.candidates(task)]
        if room == "adapt":
            settings = self.config.adapt_for(task)
            step = self._pass(task, "train", settings.batch_rows)
            dev = self._pass(task, "dev")
            return estimate.search(self.info, step, dev, lengths, settings.steps, settings.evaluate_every)
        split = "dev" if room == "ensemble" else "test"
        return sum(
            estimate.forward(self.info, Pass(whole.tokens, whole.length, length))
            for whole in [self._pass(task, split)]
            for length in lengths
        )

    def _waiting(self, room: str, choice: ShardingChoice | None) -> float:
        """Seconds in which a stage's workers wait for sharded weights."""
        pretrain = self.config.pretrain
        if room != "pretrain" or pretrain is None or choice is None or choice.kind != "zero3":
            return 0.0
        device = "cuda" if self.machine.gpus else "cpu"
        return pretrain.steps * estimate.gathering(self.graph.backbone_bytes, self.group, device)

    def _pass(self, task: str, split: str, rows: int | None = None) -> Pass:
        """A batch of `rows`, or a whole split, with the split's mean length."""
        lengths = self.encoded[task][split].lengths
        mean = float(lengths.mean())
        return Pass(mean * (len(lengths) if rows is None else rows), mean, 0)

    def _pretrain_step(self) -> Pass:
        pretrain = self.config.pretrain
        assert pretrain is not None
        sizes = {name: len(self.encoded[name]["train"]) for name in self.config.pretrain_tasks}
        rates = Mixture(sizes, pretrain.mixing.exponent, pretrain.mixing.cap, self.config.seed).rates
        mean = sum(rate * float(self.encoded[name]["train"].lengths.mean()) for name, rate in rates.items())
        tokens = float(pretrain.batch_tokens or 0) or float(pretrain.batch_rows or 0) * mean
        return Pass(tokens, mean, self.config.prompt.length)

    def _memory(self, choice: ShardingChoice | None) -> dict[str, int]:
        memory = {}
        if choice is not None:
            share = self.group if choice.kind == "zero3" else 1
            tokens = self._pretrain_step().tokens / self.group
            memory["pretrain"] = estimate.worker_memory(self.info, self.graph.backbone_bytes, self.item, tokens, share)
        widest = max(
            self._pass(name, "train", self.config.adapt_for(name).batch_rows).tokens * len(self.graph.candidates(name))
            for name in self.config.adapt_tasks
        )
        memory["adapt"] = estimate.worker_memory(self.info, self.graph.backbone_bytes, self.item, widest)
        return memory
