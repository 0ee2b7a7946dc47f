"""The registry: every artifact a version of a registered MLflow model, found by its task's name and an alias.

`<prefix>.<task>` holds a task's artifacts, `<prefix>.shared-prompt` the shared prompts they came from. A version is the
artifact of a few hundred kilobytes as a plain MLflow model; the backbone is never in it. Only the driver uses this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.registry.artifact import copy_artifact, load_artifact
from pipeline.registry.connection import Connection
from pipeline.registry.logged import fetch_artifact, log_model, version_tags
from pipeline.registry.lookup import (
    CHAMPION,
    all_models,
    all_versions,
    check_alias,
    find_model,
    find_version,
    with_fingerprint,
)
from pipeline.registry.manifest import Manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; `created` is False when the same artifact was registered before."""

    task: str
    name: str
    version: int
    created: bool


@dataclass(frozen=True)
class Listed:
    """A task in the registry: its champion if it has one, else its newest version."""

    task: str
    name: str
    version: int
    aliases: Mapping[str, int]
    versions: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Shown:
    """All that is known of one version.

    Args:
        aliases: those that point to it. run_id: the MLflow run that made it. created: ISO time. folder: its artifact.
        files: name → bytes. manifest: metrics, lineage, settings and shapes.
    """

    task: str
    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str | None
    created: str
    folder: Path
    files: Mapping[str, int]
    tags: Mapping[str, str]
    manifest: Manifest


class PromptRegistry:
    """Artifacts under `<prefix>.<task>` at one tracking URI. Nothing is opened before the first call.

    Args:
        uri: an MLflow tracking URI; a relative sqlite path is relative to the current directory.
        prefix: what the registered models' names begin with.

    Raises:
        InputError: see `tracking_uri`; a prefix that MLflow or a file system would refuse.
    """

    def __init__(self, uri: str = "sqlite:///mlflow.db", prefix: str = "deepprompt") -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", prefix):
            expected = "letters, digits, '_', '-' and '.'"
            raise InputError(
                "this cannot begin a model's name", where="registry.prefix", found=prefix, expected=expected
            )
        self.connection = Connection(uri)
        self.prefix = prefix

    @property
    def uri(self) -> str:
        """The tracking URI, absolute."""
        return self.connection.uri

    def check(self) -> None:
        """Raises InputError unless the registry answers; makes a new sqlite database's tables."""
        with self.connection.open():
            pass

    def experiment(self, client: MlflowClient) -> str:
        """The id of the experiment named like the prefix, made when it is not there."""
        found = client.get_experiment_by_name(self.prefix)
        if found is not None:
            return str(found.experiment_id)
        database = self.connection.database
        # Beside the database; MLflow's own choice would be wherever the command was started first.
        place = (database.parent / "mlartifacts" / self.prefix).as_uri() if database is not None else None
        return client.create_experiment(self.prefix, artifact_location=place)

    def register(self, folder: Path, *, run_id: str | None = None, alias: str | None = CHAMPION) -> Registered:
        """Registers an artifact folder, unless a version with its fingerprint is there, and points an alias to it.

        Args:
            run_id: the MLflow run it came from.
            alias: None moves no alias.

        Raises:
            InputError: the artifact is unsound, the alias cannot be one, or MLflow refuses.
        """
        if alias is not None:
            check_alias(alias)
        manifest = load_artifact(folder).manifest
        name = f"{self.prefix}.{manifest.name}"
        with self.connection.open() as client:
            version = with_fingerprint(client, name, manifest.fingerprint)
            created = version is None
            if version is None:
                if find_model(client, name) is None:
                    client.create_registered_model(name)
                model_id = log_model(client, self.experiment(client), folder, manifest, run_id)
                # The tags come with the version, not after it: without its fingerprint it would be registered again.
                tags = version_tags(client, self.prefix, manifest)
                source = f"models:/{model_id}"
                made = client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=model_id)
                version = int(made.version)
            if alias is not None:
                client.set_registered_model_alias(name, alias, str(version))
        return Registered(manifest.name, name, version, created)

    def list(self) -> tuple[Listed, ...]:
        """Every task of this prefix, by name; the shared prompt too."""
        with self.connection.open() as client:
            return tuple(self._listed(client, model) for model in all_models(client, self.prefix))

    def _listed(self, client: MlflowClient, model: RegisteredModel) -> Listed:
        versions = {int(v.version): v for v in all_versions(client, model.name)}
        aliases = {alias: int(version) for alias, version in model.aliases.items()}
        chosen = aliases.get(CHAMPION, max(versions, default=0))
        tags = dict(versions[chosen].tags) if chosen in versions else {}
        return Listed(model.name[len(self.prefix) + 1 :], model.name, chosen, aliases, len(versions), tags)

    def resolve(self, reference: str) -> Registered:
        """The version that `task`, `task@alias`, `task@latest` or `task@v3` means; plain `task` is its champion.

        Raises:
            InputError: no such task, alias or version, with the nearest there is.
        """
        with self.connection.open() as client:
            version = find_version(client, self.prefix, reference, where=self.uri)
        return Registered(version.name[len(self.prefix) + 1 :], version.name, int(version.version), created=False)

    def get(self, reference: str, into: Path | None = None) -> Path:
        """The folder of a version's artifact, verified: where MLflow keeps or puts it, or a copy at `into`.

        Raises:
            InputError: as `resolve` and `load_artifact`; `into` exists.
        """
        if into is not None and into.exists():
            raise InputError("there is something already", where=str(into), expected="a folder to be made")
        with self.connection.open() as client:
            version = find_version(client, self.prefix, reference, where=self.uri)
            folder = fetch_artifact(client, self.uri, version.name, int(version.version))
        if into is None:
            load_artifact(folder)
            return folder
        copy_artifact(folder, into)
        return into

    def show(self, reference: str) -> Shown:
        """All that is known of a version.

        Raises:
            InputError: as `get`.
        """
        with self.connection.open() as client:
            version = find_version(client, self.prefix, reference, where=self.uri)
            folder = fetch_artifact(client, self.uri, version.name, int(version.version))
            model = client.get_registered_model(version.name)
        number = int(version.version)
        return Shown(
            task=version.name[len(self.prefix) + 1 :],
            name=version.name,
            version=number,
            aliases=tuple(sorted(alias for alias, place in model.aliases.items() if int(place) == number)),
            run_id=version.run_id or None,
            created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
            folder=folder,
            files={path.name: path.stat().st_size for path in sorted(folder.iterdir())},
            tags=dict(version.tags),
            manifest=load_artifact(folder).manifest,
        )

    def promote(self, task: str, version: int, alias: str = CHAMPION) -> int | None:
        """Points an alias to a version.

        Returns:
            The version it pointed to before.

        Raises:
            InputError: no such task or version, or the alias cannot be one.
        """
        check_alias(alias)
        with self.connection.open() as client:
            found = find_version(client, self.prefix, f"{task}@v{version}", where=self.uri)
            before = client.get_registered_model(found.name).aliases.get(alias)
            client.set_registered_model_alias(found.name, alias, found.version)
        return int(before) if before is not None else None
