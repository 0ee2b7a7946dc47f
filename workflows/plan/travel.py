"""How the data of a run would reach a cluster: what travels with a job, what must be there, what could not be sent."""

from __future__ import annotations

from pathlib import Path

from cluster.jobs.places import Place, find_places
from pipeline.errors import InputError, InputErrors
from workflows.config.settings import Config


def places_of(config: Config) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """What becomes of each folder that the config names, and why a job could not be sent.

    A run on this machine needs none of it, so what is wrong with it is told, not raised.
    """
    from pipeline.backbone.source import BUILT_IN

    named = [(f"the data of {task.name}", task.data.path) for task in config.tasks if task.data.path is not None]
    model = config.backbone.model
    if model not in BUILT_IN and Path(model).expanduser().is_dir():
        named.append(("the backbone", model))
    places: list[Place] = []
    problems: list[str] = []
    try:
        places = list(find_places(named, Path.cwd()))
    except InputErrors as several:
        problems = [problem.message for problem in several.problems]
    except InputError as problem:
        problems = [problem.message]
    return tuple(places), tuple(problems)
