"""What a comparison consists of: a piece per task and method, all its seeds together, each a stage of its own.

A method is the run's own graph with another prompt section. All methods read the same encoded rows: those of the one
that leaves them the least room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, raise_all
from pipeline.prompts import METHODS
from pipeline.tasks import PreparedTask
from pipeline.training.adaptation.finetune import FINETUNE, bare
from pipeline.training.candidates import Candidate
from workflows.config.comparing import SHARED, CompareSettings
from workflows.config.prompts import PromptSettings
from workflows.config.settings import Config
from workflows.config.sizes import check_sizes
from workflows.plan import estimate
from workflows.plan.work import Work
from workflows.stages.code import code_version
from workflows.stages.graph import RunGraph
from workflows.stages.payloads import backbone_payload, prompt_payload
from workflows.stages.settled import GivenPrompt
from workflows.stages.stage import Stage, standing

_TRAINS_ALL = 1.5
"""Fine-tuning against training a prompt: a frozen weight needs no gradient of its own."""


@dataclass(frozen=True)
class Pieces:
    """A checked comparison.

    Args:
        run: the graph of the run that the config describes; its shared prompt is compared, too, if asked for.

    Raises:
        InputError: prompts that do not fit the backbone; a shared prompt that is not there yet.
    """

    run: RunGraph

    def __post_init__(self) -> None:
        problems = [one for m in self.how.methods for one in check_sizes(self._config(m), self.run.info)]
        raise_all(list({problem.message: problem for problem in problems}.values()))
        if "head" in self.how.methods and self._worded:
            what = f"the backbone's words answer {', '.join(self._worded)}: there is no linear head to train alone"
            hint = "leave head out, or compare it on the other tasks: adapt: {tasks: […]}"
            raise InputError(what, where="compare.methods", found="head", hint=hint)
        if SHARED in self.how.methods and not standing(self.run.folder, self.run.stages["pretrain"]).skipped:
            what, hint = "the run has no shared prompt yet", "let it pretrain first: deepprompt run"
            raise InputError(what, where=f"compare.methods: {SHARED}", found=str(self.run.folder), hint=hint)

    @property
    def how(self) -> CompareSettings:
        """The section, without the head alone where it was not asked for and a task has no linear head."""
        asked = self.run.config.compare
        if "methods" in asked.model_fields_set or not self._worded:
            return asked
        return asked.model_copy(update={"methods": tuple(name for name in asked.methods if name != "head")})

    @cached_property
    def _worded(self) -> list[str]:
        worded = self.run.config.worded
        return [name for name in self.tasks if name in worded]

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.run.config.adapt_tasks

    @cached_property
    def methods(self) -> dict[str, RunGraph]:
        """Method → a graph of that method."""
        return {method: self._graph(method) for method in self.how.methods}

    @cached_property
    def ground(self) -> RunGraph:
        """The graph whose rows all methods read, those that are not compared this time, too: what is done stays so."""
        return min(map(self._graph, METHODS), key=lambda graph: graph.text_context or 0)

    def prepared(self, task: str) -> Path:
        return self.ground.stages[f"prepare/{task}"].folder(self.ground.folder)

    @cached_property
    def stages(self) -> dict[tuple[str, str], Stage]:
        """(task, method) → its stage, task after task."""
        return {(task, method): self._stage(task, method) for task in self.tasks for method in self.how.methods}

    def candidates(self, task: str, method: str) -> list[Candidate]:
        """A method's learning rates × seeds."""
        graph = self.methods[method]
        if method != FINETUNE:
            return graph.candidates(task)
        settings, seed = graph.config.adapt_for(task), graph.config.seed
        return [bare(rate, seed + n) for rate in settings.learning_rates for n in range(settings.seeds)]

    def steps(self, task: str) -> int:
        return self.how.steps or self.run.config.adapt_for(task).steps

    def payload(self, task: str, method: str, out: Path) -> dict[str, Any]:
        """What the worker of a piece is told."""
        graph, settings = self.methods[method], self.run.config.adapt_for(task)
        return {
            "name": task,
            "method": method,
            "task": str(self.prepared(task)),
            "backbone": backbone_payload(graph),
            "prompt": prompt_payload(graph),
            "shared": str(graph.shared_folder) if method == SHARED else None,
            "sources": list(self.run.config.pretrain_tasks),
            "candidates": [asdict(one) for one in self.candidates(task, method)],
            "seconds": self.how.seconds,
            "settings": {
                "steps": graph.config.adapt_for(task).steps and self.steps(task),  # hard prompts have none
                "rows": settings.batch_rows,
                "warmup": settings.warmup,
                "evaluate_every": settings.evaluate_every,
                "patience": 0,  # equal steps are equal
                "seed": graph.config.seed,
                "head_share": graph.config.adapt_for(task).head_share,
            },
            "out": str(out),
        }

    def seconds(self, task: str, method: str, speed: float) -> float:
        """What a piece takes, about. speed: operations per second."""
        candidates = self.candidates(task, method)
        if self.how.seconds is not None:
            return len(candidates) * self.how.seconds
        encoded = {task: PreparedTask.load(self.prepared(task)).encoded}
        work, settings = Work(self.methods[method], encoded), self.run.config.adapt_for(task)
        step, dev = work.rows(task, "train", settings.batch_rows), work.rows(task, "dev")
        each = [
            estimate.search(
                self.run.info,
                step,
                dev,
                (one.length, one.first_layer, work.among),
                self.steps(task),
                settings.evaluate_every,
            )
            for one in candidates
        ]
        return sum(each) / speed * (_TRAINS_ALL if method == FINETUNE else 1.0)

    def _stage(self, task: str, method: str) -> Stage:
        graph = self.methods[method]
        inputs: dict[str, Any] = {
            "backbone": graph.info.fingerprint,
            "dtype": graph.dtype,
            "pooling": graph.pooling,
            "code": code_version(),
            "task": self.ground.stages[f"prepare/{task}"].fingerprint,
        }
        told = self.payload(task, method, Path())
        inputs |= {key: told[key] for key in ("prompt", "candidates", "seconds", "settings")}
        inputs["prompt"] = {**graph.prompt, "layout": graph.config.prompt.layout}
        if method == SHARED:
            inputs["shared prompt"] = self.run.stages["pretrain"].fingerprint
        return Stage(f"compare/{task}/{method}", inputs)

    def _graph(self, method: str) -> RunGraph:
        given = None
        if method == SHARED:
            stage = self.run.stages["pretrain"]
            given = GivenPrompt(stage.folder(self.run.folder), stage.fingerprint)
        return replace(self.run, config=self._config(method), given=given)

    def _config(self, method: str) -> Config:
        """The run's config as if it had this method alone, one length and one depth."""
        config, how = self.run.config, self.how
        prompt = _prompt(config.prompt, method, how.length or config.prompt.length)
        depth = (self.run.first_layer,) if prompt.deep and prompt.method != "head" else "auto"
        adapt = config.adapt.model_copy(
            update={
                "lengths": (prompt.length,),
                "first_layers": depth,
                "learning_rates": how.rates(method, config.prompt.method, config.adapt.learning_rates),
                "seeds": how.seeds,
                "halving": None,
                "from_scratch": False,
            }
        )
        changes: Mapping[str, Any] = {
            "name": f"{config.name}-compare",
            "tasks": tuple(task.model_copy(update={"adapt": None}) for task in config.tasks),
            "prompt": prompt,
            "pretrain": config.pretrain if method == SHARED else None,
            "adapt": adapt,
        }
        return config.model_copy(update=dict(changes))


def _prompt(own: PromptSettings, method: str, length: int) -> PromptSettings:
    """The prompt section of a method: the config's own where it is of it, else what the method usually has.

    What rows look like and what answers is the same for all.
    """
    if method in (own.method, SHARED):
        return own.model_copy(update={"length": length})
    bare = PromptSettings.model_validate({"method": "head" if method == FINETUNE else method, "length": length})
    kept: dict[str, Any] = {"head": own.answering, "template": own.worded, "attention": own.attention}
    if own.init != "prompt":  # a prompt to start from is of the config's own method
        kept |= {"init": own.init, "text": own.text}
    if bare.deep and own.deep:
        kept["first_layer"] = own.first_layer
    return bare.model_copy(update=kept)
