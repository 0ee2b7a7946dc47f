"""A run's config with all that its backbone and its tasks decide: what is read, what is searched, what it is made of.

Nothing here is about stages; `RunGraph` lays them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.backbone import BackboneInfo, resolve_dtype
from pipeline.tasks import Task, parts_of, settled_pooling
from pipeline.training.adaptation.halving import deal_cells
from pipeline.training.candidates import Candidate
from workflows.config.settings import Config
from workflows.stages.loading import source_fingerprint


@dataclass(frozen=True)
class GivenPrompt:
    """A shared prompt that is there already.

    Args:
        folder: as the pretrain stage leaves it. fingerprint: its artifact's.
    """

    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class SettledRun:
    """A checked run, nothing of it left open.

    Args:
        config: as loaded. info: the backbone. tasks: every task of the config, loaded and checked.
        given: the shared prompt to adapt; None when this run pretrains its own, if its config says so.
    """

    config: Config
    info: BackboneInfo
    tasks: Mapping[str, Task]
    given: GivenPrompt | None = None

    @property
    def folder(self) -> Path:
        return self.config.run_folder

    @cached_property
    def dtype(self) -> str:
        return resolve_dtype(self.config.backbone.dtype)

    @property
    def backbone_bytes(self) -> int:
        """The weights' size in memory, in the run's dtype."""
        return self.info.parameters * (2 if self.dtype == "bfloat16" else 4)

    @property
    def pooling(self) -> str:
        """What a sentence's vector is. A decoder has seen the whole sentence only at its last token; where soft tokens
        leave the label a place, that alone is read."""
        chosen, layout = self.config.backbone.pooling, self.config.prompt.layout
        if chosen != "auto":
            return chosen
        if self.info.causal:
            return "last"
        return "mean" if layout is not None and "label" in layout else "pair"

    def pooling_of(self, task: str) -> str:
        """A task's own pooling, or the run's."""
        spec = self.tasks[task].spec
        own = self.pooling if spec.pooling == "auto" else spec.pooling
        return settled_pooling(spec.type, own, spec.template is not None)

    def head_numbers(self, task: str) -> int:
        """How many numbers a task's linear head has."""
        return (parts_of(self.pooling_of(task)) * self.info.width + 1) * len(self.tasks[task].labels)

    @property
    def text_context(self) -> int | None:
        """Tokens of the longest row: input prompts take their share of the context."""
        context, prompt = self.info.context, self.config.prompt
        layout = prompt.recipe.arrangement
        if layout is None or context is None:
            return context
        longest = max(one for name in self.config.adapt_tasks for one in self.config.adapt_for(name).lengths)
        if self.config.pretrain is not None:
            longest = max(longest, prompt.length)
        return layout.room(context, longest)

    @property
    def first_layer(self) -> int:
        """Where the shared prompt begins."""
        chosen = self.config.prompt.first_layer
        return 0 if chosen == "auto" else int(chosen)

    def first_layers(self, task: str) -> tuple[int, ...]:
        """The lowest prompted layers that a task's search tries; auto: see `CandidateSettings`."""
        chosen, lowest = self.config.adapt_for(task).first_layers, self.config.prompt.first_layer
        if not self.config.prompt.deep:
            return (0,)
        if chosen != "auto":
            return chosen
        if lowest != "auto":
            return (int(lowest),)
        if self.info.kinds[0] not in self.info.attention:
            return (0,)  # no prompt stands where rows enter
        layers = self.info.entrances
        return tuple(sorted({0, layers // 2, layers - max(1, layers // 6)}))

    def candidates(self, task: str) -> list[Candidate]:
        """The candidates of a task: lengths × depths × learning rates × seeds, from the shared prompt and from
        scratch."""
        settings = self.config.adapt_for(task)
        starts = ["shared"] if self.config.pretrain is not None else []
        if settings.from_scratch or not starts:
            starts.append("scratch")
        lengths = (0,) if self.config.prompt.method == "head" else settings.lengths
        depths = self.first_layers(task)
        return [
            Candidate(start, length, first_layer, rate, self.config.seed + seed)
            for start in starts
            for length in lengths
            for first_layer in (depths if length else depths[-1:])  # a head alone has no depth: the cheapest
            for rate in settings.learning_rates
            for seed in range(settings.seeds)
        ]

    def brackets(self, task: str) -> list[list[int]]:
        """The places of a task's candidates, by the search that they are in."""
        halving = self.config.adapt_for(task).halving
        return deal_cells(self.candidates(task), 1 if halving is None else halving.brackets)

    @property
    def used(self) -> set[str]:
        """The tasks that are trained on or answered."""
        return {*(self.config.pretrain_tasks if self.given is None else ()), *self.config.adapt_tasks}

    @property
    def verbal(self) -> bool:
        """Whether any task that is trained on or answered is answered by words of the backbone's vocabulary."""
        used = [self.tasks[name] for name in self.used]
        return any(task.spec.head == "verbalizer" or task.kind.written for task in used)

    @property
    def prompt(self) -> dict[str, Any]:
        """What prompts are made of: the config's choices, and the contents behind a path."""
        plain = self.config.prompt.model_dump(mode="json", exclude={"first_layer", "length", "source"})
        return plain if self.source is None else {**plain, "source": self.source}

    @cached_property
    def source(self) -> str | None:
        """The fingerprint of the artifact that `init: prompt` starts from."""
        return None if self.config.prompt.source is None else source_fingerprint(self.config, self.info)
