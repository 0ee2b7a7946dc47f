"""Finding versions of registered models: by `task@alias`, by number, by fingerprint."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, nearest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION = "champion"
CHALLENGER = "challenger"
TAG = "deepprompt."
"""What the tags of this project begin with."""
_VERSION = re.compile(r"v?([1-9][0-9]*)")
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")


def check_alias(alias: str) -> None:
    """Raises InputError unless MLflow takes the alias and no reference reads it as a version."""
    if not _ALIAS.fullmatch(alias) or alias == "latest" or _VERSION.fullmatch(alias):
        expected = "letters, digits, '_' and '-', but not latest, a number or v and a number"
        raise InputError("this cannot be an alias", where="alias", found=alias, expected=expected)
    if alias not in (CHAMPION, CHALLENGER) and alias.lower() in (CHAMPION, CHALLENGER):
        # MLflow tells them apart on some databases only.
        raise InputError("aliases are in small letters", where="alias", found=alias, nearest=alias.lower())


def find_version(client: MlflowClient, prefix: str, reference: str, *, where: str) -> ModelVersion:
    """The version that `task`, `task@alias`, `task@latest` or `task@v3` means; plain `task` is its champion.

    Raises:
        InputError: no such task, alias or version, with the nearest there is.
    """
    task, at, which = reference.partition("@")
    model = find_task(client, prefix, task, where=where, found=reference)
    aliases = known_aliases(model)
    versions = {int(version.version): version for version in all_versions(client, model.name)}
    wanted = which if at else CHAMPION
    number = _VERSION.fullmatch(wanted)
    chosen = max(versions, default=0) if wanted == "latest" else aliases.get(wanted, 0)
    if number is not None:
        chosen = int(number[1])
    if chosen not in versions:
        known = [*sorted(aliases), *(f"v{n}" for n in sorted(versions))]
        what = f"task {task!r} has no such {'version' if number else 'alias'}"
        raise InputError(what, where=where, found=wanted, expected=", ".join(known), nearest=nearest(wanted, known))
    return versions[chosen]


def find_task(client: MlflowClient, prefix: str, task: str, *, where: str, found: str | None = None) -> RegisteredModel:
    """The registered model of a task.

    Args:
        found: what the user gave, if not the task alone.

    Raises:
        InputError: no such task, with the nearest there is.
    """
    model = find_model(client, f"{prefix}.{task}") if task else None
    if model is not None:
        return model
    tasks = [m.name[len(prefix) + 1 :] for m in all_models(client, prefix)]
    raise InputError(
        "the registry has no such task",
        where=where,
        found=task if found is None else found,
        expected=", ".join(tasks) or "nothing is registered yet",
        nearest=nearest(task, tasks),
    )


def known_aliases(model: RegisteredModel) -> dict[str, int]:
    """Alias → the version it points to."""
    return {str(alias): int(version) for alias, version in model.aliases.items()}


def with_fingerprint(client: MlflowClient, name: str, fingerprint: str) -> int | None:
    """The first version of exactly this artifact."""
    found = all_versions(client, name, f"tags.`{TAG}fingerprint` = '{fingerprint}'")
    return min((int(version.version) for version in found), default=None)


def find_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    """A registered model, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def all_models(client: MlflowClient, prefix: str) -> list[RegisteredModel]:
    """The registered models of a prefix, by name."""
    found = all_pages(client.search_registered_models, filter_string=f"name LIKE '{prefix}.%'", max_results=1000)
    # In LIKE an underscore of the prefix stands for any character.
    return sorted((m for m in found if m.name.startswith(prefix + ".")), key=lambda model: str(model.name))


def all_versions(client: MlflowClient, name: str, only: str | None = None) -> list[ModelVersion]:
    """The versions of a registered model; none where there is no such model.

    Args:
        only: a condition in MLflow's filter language.
    """
    condition = f"name = '{name}'" + (f" and {only}" if only else "")
    return all_pages(client.search_model_versions, filter_string=condition)


def ensure_model(client: MlflowClient, name: str, about: str | None = None) -> None:
    """Makes a registered model unless it is there, or somebody makes it now.

    Raises:
        InputError: one of MLflow's text prompts has the name.
    """
    from mlflow.exceptions import MlflowException

    if find_model(client, name) is not None:
        return
    try:
        client.create_registered_model(name, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if find_model(client, name) is None:
            what = "a text prompt of MLflow's Prompt Registry has this name, and names are shared with models"
            raise InputError(what, where="registry.prefix", found=name, hint="choose another prefix") from error


def ensure_experiment(client: MlflowClient, name: str, place: str | None) -> str:
    """The id of an experiment, made unless it is there.

    Args:
        place: where its artifacts go; None for MLflow's choice.

    Raises:
        InputError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
    if found.lifecycle_stage != "active":
        hint = f"mlflow experiments restore --experiment-id {found.experiment_id}, or choose another prefix"
        raise InputError("the experiment was deleted in MLflow", where="registry.prefix", found=name, hint=hint)
    return str(found.experiment_id)


def all_pages(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    """Every page of one of MLflow's searches."""
    found, token = [], None
    while True:
        page = search(**arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
