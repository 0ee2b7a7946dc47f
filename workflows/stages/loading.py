"""Loading the tasks of a config: one whose data is unsound is told apart from the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import InputError
from pipeline.tasks import Task, load_task
from workflows.config.settings import Config


def load_tasks(
    config: Config, on_event: Callable[[Mapping[str, Any]], None] = lambda event: None
) -> tuple[dict[str, Task], dict[str, InputError]]:
    """The tasks whose every row is sound, and of the others what is wrong with them."""
    tasks: dict[str, Task] = {}
    unsound: dict[str, InputError] = {}
    specs = config.task_specs()
    for done, spec in enumerate(specs):
        on_event({"stage": "check", "done": done, "total": len(specs), "note": spec.name})
        try:
            tasks[spec.name] = load_task(spec, config.cache_folder)
        except InputError as problem:
            unsound[spec.name] = problem
    on_event({"stage": "check", "done": len(specs), "total": len(specs), "note": "every row is checked"})
    return tasks, unsound
