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
TAG = "deepprompt."
"""What the tags of this project begin with."""
_VERSION = re.compile(r"v?([1-9][0-9]*)")
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")


def check_alias(alias: str) -> None:
    """Raises InputError unless MLflow takes the alias and no reference reads it as a version."""
    if not _ALIAS.fullmatch(alias) or alias == "latest" or _VERSION.fullmatch(alias):
        expected = "letters, digits, '_' and '-', but not latest, a number or v and a number"
        raise InputError("this cannot be an alias", where="alias", found=alias, expected=expected)


def find_version(client: MlflowClient, prefix: str, reference: str, *, where: str) -> ModelVersion:
    """The version that `task`, `task@alias`, `task@latest` or `task@v3` means; plain `task` is its champion.

    Raises:
        InputError: no such task, alias or version, with the nearest there is.
    """
    task, at, which = reference.partition("@")
    model = find_model(client, f"{prefix}.{task}") if task else None
    if model is None:
        tasks = [m.name[len(prefix) + 1 :] for m in all_models(client, prefix)]
        raise InputError(
            "the registry has no such task",
            where=where,
            found=reference,
            expected=", ".join(tasks) or "nothing is registered yet",
            nearest=nearest(task, tasks),
        )
    aliases = {alias: int(version) for alias, version in model.aliases.items()}
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


def with_fingerprint(client: MlflowClient, name: str, fingerprint: str) -> int | None:
    """The newest version of exactly this artifact."""
    tag = TAG + "fingerprint"
    found = [int(v.version) for v in all_versions(client, name) if v.tags.get(tag) == fingerprint]
    return max(found, default=None)


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
    found = all_pages(client.search_registered_models, filter_string=f"name LIKE '{prefix}.%'")
    # In LIKE an underscore of the prefix stands for any character.
    return sorted((m for m in found if m.name.startswith(prefix + ".")), key=lambda model: str(model.name))


def all_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """The versions of a registered model; none where there is no such model."""
    return all_pages(client.search_model_versions, filter_string=f"name = '{name}'")


def all_pages(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    """Every page of one of MLflow's searches."""
    found, token = [], None
    while True:
        page = search(**arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
