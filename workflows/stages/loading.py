"""Loading what a config names: its tasks, one with unsound data told apart from the others, and its source prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        InputError: it cannot be read, is of another backbone, of several prompts, or of prompts of another kind.
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
    if len(source.members) > 1:
        what, several = "an ensemble is several prompts, and one is to start from", f"{len(source.members)} members"
        raise InputError(what, where=where, found=several, expected="an artifact of one prompt, such as a winner's")
    if not source.manifest.lengths[0]:
        raise InputError("there is no prompt to start from, but a head alone", where=where, found=source.manifest.name)
    sites = tuple(range(info.layers)) if source.manifest.sites is None else source.manifest.sites
    if config.prompt.deep and sites != info.standing:
        what = "the prompt to start from stands in other attentions of the backbone than the config's"
        raise InputError(what, where=where, found=_told(info, sites), expected=_told(info, info.standing))
    return source.manifest.fingerprint


def _told(info: BackboneInfo, sites: Sequence[int]) -> str:
    """Which kinds of attention sites are."""
    return ", ".join(dict.fromkeys(info.kinds[site] for site in sites))
