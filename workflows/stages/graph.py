"""The stages of a run, what each is a function of, and where each stands.

The plan prints this graph, the run executes it, and the status reads it; all three build it with the same function.

    prepare/<task> ─► pretrain ─► adapt/<task> ─► ensemble/<task> ─► evaluate/<task> ─► register
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.backbone import BackboneInfo, describe
from pipeline.errors import InputError, InputErrors, raise_all
from pipeline.tasks import Task
from workflows.config.settings import Config
from workflows.config.sizes import check_sizes, check_templates, check_written
from workflows.stages.code import code_version
from workflows.stages.loading import load_tasks, source_fingerprint
from workflows.stages.settled import SettledRun
from workflows.stages.stage import Stage, Standing, standing


@dataclass(frozen=True)
class RunGraph(SettledRun):
    """A checked run and its stages."""

    @property
    def shared_folder(self) -> Path | None:
        """Where the shared prompt is, once there; None when nothing is pretrained."""
        if self.given is not None:
            return self.given.folder
        return self.stages["pretrain"].folder(self.folder) if "pretrain" in self.stages else None

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """All stages by name, in the order they run."""
        stages = self._task_stages
        return {**stages, "register": self.register_stage(self.config.adapt_tasks)}

    def register_stage(self, evaluated: Iterable[str]) -> Stage:
        """Registration of the tasks that got as far as a test score."""
        scored = {name: self._task_stages[f"evaluate/{name}"].fingerprint for name in evaluated}
        return Stage("register", {"run": self.config.name, "registry": self.config.registry.model_dump(), **scored})

    @cached_property
    def _task_stages(self) -> dict[str, Stage]:
        prepare = {name: self._prepare(task) for name, task in self.tasks.items() if name in self.used}
        stages = {stage.name: stage for stage in prepare.values()}
        if self.config.pretrain is not None and self.given is None:
            stages["pretrain"] = self._pretrain(prepare)
        rooms: dict[str, list[Stage]] = {"adapt": [], "ensemble": [], "evaluate": []}
        for name in self.config.adapt_tasks:
            adapt = self._adapt(name, prepare[name], stages.get("pretrain"))
            rooms["adapt"].append(adapt)
            last = adapt
            tolerance = self.config.adapt_for(name).tolerance
            if self.config.ensemble is not None and self.tasks[name].kind.combinations:
                how = self.config.ensemble.model_dump(mode="json")
                if self.config.ensemble.distil:  # into a prompt as long and deep as the winner
                    how["tolerance"] = tolerance
                last = Stage(f"ensemble/{name}", {"adapt": adapt.fingerprint, **how})
                rooms["ensemble"].append(last)
            rooms["evaluate"].append(Stage(f"evaluate/{name}", {last.room: last.fingerprint, "tolerance": tolerance}))
        return stages | {stage.name: stage for room in rooms.values() for stage in room}

    def standings(self) -> dict[str, Standing]:
        """Where every stage stands on disk."""
        return {name: standing(self.folder, stage) for name, stage in self.stages.items()}

    @property
    def _model(self) -> dict[str, Any]:
        return {
            "backbone": self.info.fingerprint,
            "dtype": self.dtype,
            "pooling": self.pooling,
            "first layer": self.first_layer,
            "attention": list(self.info.attention),
            "seed": self.config.seed,
            "code": code_version(),
        }

    def _prepare(self, task: Task) -> Stage:
        spec = task.spec
        worded = {} if spec.template is None else {"template": spec.template, "head": spec.head, "words": spec.words}
        return Stage(
            f"prepare/{spec.name}",
            {
                **worded,
                "data": dict(task.fingerprints),
                "type": spec.type,
                "metric": task.metric,
                "max_tokens": spec.max_tokens,
                "too_long": spec.too_long,
                "pooling": spec.pooling,
                "overlap": spec.overlap,
                "decoding": None if spec.writing is None else asdict(spec.writing),
                "tokenizer": self.info.tokenizer,
                "context": self.text_context,
                "code": code_version(),
            },
        )

    def _pretrain(self, prepare: Mapping[str, Stage]) -> Stage:
        assert self.config.pretrain is not None
        how = self.config.pretrain.model_dump(mode="json", exclude={"workers", "checkpoint_every", "tasks"})
        tasks = {f"task {name}": prepare[name].fingerprint for name in self.pretrain_stage_tasks}
        prompt = {**self.prompt, "length": self.config.prompt.length}
        return Stage("pretrain", {**self._model, "pretrain": how, "prompt": prompt, **tasks})

    @property
    def pretrain_stage_tasks(self) -> tuple[str, ...]:
        """The tasks whose rows pretraining reads: retrieval trains a prompt of their own for the targets, too."""
        pretrain = self.config.pretrain
        if pretrain is None or pretrain.kind != "retrieval":
            return self.config.pretrain_tasks
        return tuple(name for name in self.tasks if name in self.used)

    def _adapt(self, name: str, prepare: Stage, pretrain: Stage | None) -> Stage:
        # Which candidates share a batch changes nothing, and the winner is chosen from what training left.
        apart = {"workers", "tasks", "room", "checkpoint_every", "tolerance"}
        how = self.config.adapt_for(name).model_dump(mode="json", exclude=apart)
        inputs: dict[str, Any] = {
            **self._model,
            "adapt": {**how, "first_layers": list(self.first_layers(name))},
            "task": prepare.fingerprint,
            "prompt": self.prompt,
        }
        if pretrain is not None:
            inputs["pretrain"] = pretrain.fingerprint
        elif self.given is not None:
            inputs["shared prompt"] = self.given.fingerprint
        return Stage(f"adapt/{name}", inputs)


def build_graph(config: Config, on_event: Callable[[Mapping[str, Any]], None] = lambda event: None) -> RunGraph:
    """Checks the backbone and every row of every task, and lays out the stages.

    Args:
        on_event: hears how many tasks are checked.

    Raises:
        InputError: everything that is wrong with the config's backbone and data, all at once.
    """
    problems: list[InputError] = []
    info: BackboneInfo | None = None
    try:
        info = describe(config.backbone.model, config.backbone.revision, attention=config.attention)
    except InputError as problem:
        problems.append(problem)
    tasks, unsound = load_tasks(config, on_event)
    for one in unsound.values():
        problems += one.problems if isinstance(one, InputErrors) else [one]
    if info is not None:
        problems += check_sizes(config, info) + check_templates(info, tasks)
        problems += check_written(config, info, tasks)
        try:
            if config.prompt.source is not None:
                source_fingerprint(config, info)
        except InputError as problem:
            problems.append(problem)
    raise_all(problems)
    assert info is not None
    return RunGraph(config, info, tasks)
