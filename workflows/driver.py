"""Takes a run's stages in order: which are not done yet, what each worker is told, what becomes of what it answers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster import Launcher, Outcome, Pool, make_launcher
from pipeline.backbone import load_tokenizer
from pipeline.tasks import prepare_task
from workflows.machine import Machine, look_at_machine
from workflows.stages import payloads, workers
from workflows.stages.artifacts import save_shared_artifact, save_task_artifacts
from workflows.stages.cohorts import Cohort, checkpoint_folder, deal, gather, singly
from workflows.stages.graph import RunGraph
from workflows.stages.replica import Replica
from workflows.stages.stage import Stage, Standing, begin, commit, standing

OnEvent = Callable[[Mapping[str, Any]], None]


class Driver:
    """Takes the stages in order. The launcher and its workers start only when a stage needs them."""

    def __init__(self, graph: RunGraph, launcher: str, address: str | None, on_event: OnEvent, log_file: Path) -> None:
        self.graph = graph
        self.on_event = on_event
        self.failures: dict[str, str] = {}
        self._name, self._address, self._log = launcher, address, log_file
        self._open = ExitStack()
        self._launcher: Launcher | None = None
        self._pool: Pool | None = None

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def launcher(self) -> Launcher:
        if self._launcher is None:
            if self._name == "ray":
                self.on_event({"stage": "ray", "note": "starting or joining the cluster"})
            opened = make_launcher(self._name, address=self._address, log_file=self._log)
            self._launcher = self._open.enter_context(opened)
        return self._launcher

    @property
    def machine(self) -> Machine:
        return look_at_machine()

    def prepare(self) -> None:
        """Encodes the tasks, in this process."""
        tokenizer = None
        stages = self._waiting("prepare")
        for done, stage in enumerate(stages, start=1):
            assert stage.task is not None
            tokenizer = tokenizer or load_tokenizer(self.graph.info)
            started = time.monotonic()
            partial = begin(self.graph.folder, stage, fresh=True)
            prepared = prepare_task(
                self.graph.tasks[stage.task],
                tokenizer,
                context=self.graph.text_context,
                cache_dir=self.graph.config.cache_folder,
                predicts=self.graph.info.predicts,
            )
            prepared.save(partial)
            facts = {s: {"rows": len(e), "truncated": e.truncated} for s, e in prepared.encoded.items()}
            commit(self.graph.folder, stage, facts, time.monotonic() - started)
            self.on_event({"stage": "prepare", "done": done, "total": len(stages), "note": stage.task})

    def pretrain(self) -> None:
        """Trains the shared prompt, on a group of ranks."""
        for stage in self._waiting("pretrain"):
            settings = self.graph.config.pretrain
            assert settings is not None
            rows = payloads.pretrain_rows(self.graph)  # every rank must have a row in every step
            workers_wanted = min(rows, self.machine.group_workers(settings.workers, self._name))
            choice = self.machine.sharding(self.graph, workers_wanted)
            self.on_event({"stage": "pretrain", "note": f"sharding {choice.kind}: {choice.reason}"})
            started = time.monotonic()
            partial = begin(self.graph.folder, stage)
            summary = self.launcher.group(
                workers.pretrain,
                payloads.pretrain_payload(self.graph, partial, choice.kind, rows),
                workers=workers_wanted,
                folder=partial,
                name="checkpoints",
                on_event=self.on_event,
            )
            save_shared_artifact(self.graph, partial)
            commit(self.graph.folder, stage, {**summary, "sharding": choice.kind}, time.monotonic() - started)

    def adapt(self) -> None:
        """Trains the searches of all tasks, dealt to the pool's workers in cohorts."""
        stages = {str(stage.task): stage for stage in self._waiting("adapt")}
        if not stages:
            return
        folders = {task: begin(self.graph.folder, stage) for task, stage in stages.items()}
        began = time.monotonic()
        failed = self._train(deal(self.graph, self._pool_size, stages), folders, began)
        # A cohort that failed as a whole is tried again task by task, so that each fails or is done by itself.
        failed = self._train([alone for cohort in failed for alone in singly(cohort)], folders, began, alone=True)
        shutil.rmtree(self.graph.folder / ".cohorts", ignore_errors=True)

    def _train(
        self, cohorts: Sequence[Cohort], folders: Mapping[str, Path], began: float, alone: bool = False
    ) -> list[Cohort]:
        """Runs cohorts; the ones of several tasks that failed are returned, a single task's failure is told."""
        failed: list[Cohort] = []

        def on_done(outcome: Outcome) -> None:
            cohort = cohorts[outcome.index]
            tasks = list(dict.fromkeys(part.task for part in cohort))
            if outcome.error is not None and len(tasks) > 1 and not alone:
                failed.append(cohort)
                self.on_event({"stage": "adapt", "note": f"a cohort failed, each task again alone: {outcome.error}"})
                return
            for task in tasks:
                stage, folder = self.graph.stages[f"adapt/{task}"], folders[task]
                if outcome.error is not None:
                    self._finish(stage, folder, outcome, 0.0)
                elif gather(self.graph, task, folder):
                    told = {**outcome.value["tasks"][task], "padding": outcome.value["padding"], "cohort": tasks}
                    commit(self.graph.folder, stage, told, time.monotonic() - began)

        told = [payloads.cohort_payload(self.graph, cohort) for cohort in cohorts]
        places = [checkpoint_folder(self.graph, cohort) for cohort in cohorts]
        self._workers().map(workers.adapt, told, folders=places, on_done=on_done)
        return failed

    def each_task(self, room: str) -> None:
        """Fans a stage of every task out over the pool's workers."""
        stages = [stage for stage in self._waiting(room) if stage.task not in self.failures]
        make: Callable[[RunGraph, str, Path], dict[str, Any]] = getattr(payloads, f"{room}_payload")
        self.fan_out(getattr(workers, room), stages, lambda stage, folder: make(self.graph, str(stage.task), folder))

    def fan_out(
        self,
        work: Callable[..., Any],
        stages: Sequence[Stage],
        told: Callable[[Stage, Path], Mapping[str, Any]],
        on_over: Callable[[Stage], None] = lambda stage: None,
    ) -> None:
        """Has the pool's workers do stages side by side; each is done, or told as failed, when its own worker is.

        Args:
            told: what the worker of a stage is told, which works in that folder. on_over: hears of each that is over.
        """
        if not stages:
            return
        folders = [begin(self.graph.folder, stage) for stage in stages]
        payloads_of = [told(stage, folder) for stage, folder in zip(stages, folders, strict=True)]
        began = time.monotonic()

        def on_done(outcome: Outcome) -> None:
            self._finish(stages[outcome.index], folders[outcome.index], outcome, time.monotonic() - began)
            on_over(stages[outcome.index])

        self._workers().map(work, payloads_of, folders=folders, on_done=on_done)

    def answering(self, work: Callable[..., Any], told: Sequence[Mapping[str, Any]]) -> list[tuple[Any, str | None]]:
        """Has the pool's workers do something that is no stage; the value of each piece of work, and its error."""
        if not told:
            return []
        outcomes = self._workers().map(work, told, folders=[self.graph.folder] * len(told))
        return [(one.value, None if one.error is None else str(one.error)) for one in outcomes]

    def _finish(self, stage: Stage, folder: Path, outcome: Outcome, seconds: float) -> None:
        assert stage.task is not None
        if outcome.error is not None:
            self.failures[stage.task] = f"{stage.name}: {outcome.error}"
            self.on_event({"stage": stage.room, "task": stage.task, "note": f"failed: {outcome.error}"})
            return
        if stage.room == "evaluate":
            save_task_artifacts(self.graph, stage.task, folder)
        commit(self.graph.folder, stage, outcome.value, seconds)

    @property
    def _pool_size(self) -> int:
        wanted = self.graph.config.adapt.workers
        return self.machine.pool_workers(wanted, self._name, self.graph.backbone_bytes)

    def _workers(self) -> Pool:
        if self._pool is None:
            common = payloads.replica_payload(self.graph)
            opened = self.launcher.pool(Replica, common, workers=self._pool_size, on_event=self.on_event)
            self._pool = self._open.enter_context(opened)
        return self._pool

    def _waiting(self, room: str) -> list[Stage]:
        """The stages of a room that are not done; tells why the others are skipped."""
        return [
            stage
            for stage in self.graph.stages.values()
            if stage.room == room and stage.task not in self.failures and not self._standing(stage).skipped
        ]

    def _standing(self, stage: Stage) -> Standing:
        found = standing(self.graph.folder, stage)
        if found.skipped:
            self.on_event({"stage": stage.room, "task": stage.task, "note": f"skipped: {found.reason}"})
        return found
