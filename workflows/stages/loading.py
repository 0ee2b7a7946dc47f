"""Loading what a config names: its tasks, one with unsound data told apart from the others, and its source prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.backbone import BackboneInfo
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


def source_fingerprint(config: Config, info: BackboneInfo) -> str:
    """The fingerprint of the artifact that prompts start from.

    Raises:
        InputError: it cannot be read, is of another backbone, or of prompts of another kind.
    """
    from pipeline.registry import check_backbone, load_artifact

    where = "prompt.source"
    source = load_artifact(Path(config.prompt.source or ""))
    check_backbone(source, info, where=where)
    if (source.manifest.layout is None) != config.prompt.deep:
        found, expected = (
            source.manifest.method,
            "deep or prefix" if config.prompt.deep else "prompt_tuning or p_tuning",
        )
        raise InputError("the prompt to start from is of another kind", where=where, found=found, expected=expected)
    return source.manifest.fingerprint
