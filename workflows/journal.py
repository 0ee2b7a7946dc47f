"""What a run leaves besides its results: its log, its plan, its events. They lie in its folder and go to MLflow, at the
end of each kind of stage and however the run ends, so that they outlive the cluster.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry
from pipeline.registry.connection import shown
from pipeline.registry.runs.unfinished import keep_unfinished, take_over
from pipeline.training.world import save_json
from workflows.stages.graph import RunGraph
from workflows.stages.stage import read_record

OnEvent = Callable[[Mapping[str, Any]], None]
EVENTS, PLAN_TEXT, PLAN, RECORD = "events.jsonl", "plan.txt", "plan.json", "journal.json"
SPARSE_SECONDS = 10.0
"""Between two figures of the same progress."""


class Journal:
    """The journal of one run; as a listener for events it writes them down and passes them on.

    Args:
        graph: the run. log_file: what the libraries said. on_event: hears every event too.
    """

    def __init__(self, graph: RunGraph, log_file: Path, on_event: OnEvent) -> None:
        self._graph, self._log, self._on_event = graph, log_file, on_event
        self._lock = threading.Lock()  # workers' events come from a thread of their own
        self._told: dict[tuple[Any, Any], float] = {}

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self._worth(event):
            line = json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False, default=str)
            with self._lock, (self._graph.folder / EVENTS).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        self._on_event(event)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the context lasts MLflow has the run as unfinished; should it fail, as failed, with all there is."""
        self.keep()
        try:
            yield
        except BaseException as error:
            told = "stopped" if isinstance(error, KeyboardInterrupt) else f"failed: {type(error).__name__}: {error}"
            self({"stage": "run", "note": told})
            self.keep("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise

    def keep(self, status: str = "RUNNING") -> None:
        """Brings what there is to MLflow. That it cannot is told, and ends no run."""

        def bring(registry: PromptRegistry) -> None:
            tags = {"deepprompt.folder": str(self._graph.folder), **_job()}
            name, known = f"{self._graph.config.name} (unfinished)", self._unfinished
            run_id = keep_unfinished(registry, known, name, self._files, status=status, tags=tags)
            if run_id != known:
                save_json(self._graph.folder / RECORD, {"run_id": run_id, "registry": shown(registry.uri)})

        self._bring(bring)

    def finish(self, run_id: str, *, new: bool) -> None:
        """Brings everything to the finished run, unless an earlier run has done so already."""
        if not new and self._unfinished is None:
            return

        def bring(registry: PromptRegistry) -> None:
            take_over(registry, self._unfinished, run_id, self._files)
            (self._graph.folder / RECORD).unlink(missing_ok=True)

        self._bring(bring)

    def write_plan(self) -> None:
        """Writes down what is about to be done and what it should cost. The rows are encoded by now."""
        from io import StringIO

        from rich.console import Console

        from workflows.cli.plan_text import render
        from workflows.plan.make import encode_tasks, plan_of

        text = StringIO()
        try:
            plan = plan_of(self._graph, encode_tasks(self._graph), shown(self._graph.config.registry.uri))
            render(plan, Console(file=text, width=160, highlight=False))
            save_json(self._graph.folder / PLAN, plan.as_json())
        except InputError as problem:  # such as too little room: the run itself finds out whether that matters
            text.write(f"{problem.message}\n")
        (self._graph.folder / PLAN_TEXT).write_text(text.getvalue(), encoding="utf-8")

    def _bring(self, bring: Callable[[PromptRegistry], None]) -> None:
        settings = self._graph.config.registry
        try:
            bring(PromptRegistry(settings.uri, settings.prefix))
        except InputError as problem:
            self({"stage": "journal", "note": f"log, plan and events did not reach MLflow: {problem.message}"})

    @property
    def _unfinished(self) -> str | None:
        record = read_record(self._graph.folder / RECORD)
        return str(record["run_id"]) if record is not None and "run_id" in record else None

    @property
    def _files(self) -> list[Path]:
        own = [self._graph.folder / name for name in (EVENTS, PLAN_TEXT, PLAN)]
        return [file for file in (self._log, *own) if file.is_file()]

    def _worth(self, event: Mapping[str, Any]) -> bool:
        """Remarks, beginnings and ends; of the figures between them one now and then."""
        if event.get("total") is None:
            return True
        key, now = (event.get("stage"), event.get("task")), time.monotonic()
        first = key not in self._told
        if not first and event.get("done", 0) < event["total"] and now - self._told[key] < SPARSE_SECONDS:
            return False
        self._told[key] = now
        return True


def _job() -> dict[str, str]:
    """The Ray job that this process is in, as a tag; Ray tells a job's processes in a variable."""
    try:
        told = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
        return {"deepprompt.job": str(told["metadata"]["job_submission_id"])}
    except (ValueError, LookupError, TypeError):
        return {}
