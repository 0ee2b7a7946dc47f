"""The registry: every artifact a version of a registered MLflow model, found by its task's name and an alias.

`<prefix>.<task>` holds a task's artifacts, `<prefix>.shared-prompt` the shared prompts they came from. A version is the
artifact of a few hundred kilobytes as a plain MLflow model; the backbone is never in it. Only the driver uses this.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.registry.artifact import copy_artifact, load_artifact
from pipeline.registry.connection import Connection
from pipeline.registry.versions.audit import AuditLog, Chain, Promotion
from pipeline.registry.versions.diff import Diff, compare
from pipeline.registry.versions.entries import Listed, Registered, Shown
from pipeline.registry.versions.logged import add_version, fetch_artifact, lineage_of
from pipeline.registry.versions.lookup import (
    CHAMPION,
    all_models,
    all_versions,
    check_alias,
    ensure_experiment,
    ensure_model,
    find_task,
    find_version,
    known_aliases,
    with_fingerprint,
)
from pipeline.registry.versions.moves import UNSPECIFIED, Unspecified, Wish, move, the_version_before

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel


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
        return ensure_experiment(client, self.prefix, self._place(self.prefix))

    def _place(self, name: str) -> str | None:
        """Where an experiment's artifacts go: beside a database; MLflow's own choice would be wherever the command was
        started first. A server chooses itself."""
        database = self.connection.database
        return (database.parent / "mlartifacts" / name).as_uri() if database is not None else None

    def _log(self, client: MlflowClient) -> AuditLog:
        return AuditLog(client, self.prefix, self._place(f"{self.prefix}-audit"))

    def register(
        self,
        folder: Path,
        *,
        run_id: str | None = None,
        alias: str | None = CHAMPION,
        by: str | None = None,
        reason: str = "registered",
    ) -> Registered:
        """Registers an artifact folder, unless a version with its fingerprint is there, and points an alias to it.

        Args:
            run_id: the MLflow run it came from.
            alias: None moves no alias. by, reason: as `promote`, where the alias moves.

        Raises:
            InputError: the artifact is unsound, the alias cannot be one, or MLflow refuses.
        """
        if alias is not None:
            check_alias(alias)
        manifest = load_artifact(folder).manifest
        name = f"{self.prefix}.{manifest.name}"
        with self.connection.open() as client:
            version, created = with_fingerprint(client, name, manifest.fingerprint), False
            if version is None:
                ensure_model(client, name)
                version, created = add_version(client, self.prefix, self.experiment(client), folder, manifest, run_id)
            if alias is not None and known_aliases(client.get_registered_model(name)).get(alias) != version:
                self.promote(manifest.name, version, alias, by=by, reason=reason)
        return Registered(manifest.name, name, version, created)

    def list(self) -> tuple[Listed, ...]:
        """Every task of this prefix, by name; the shared prompt too."""
        with self.connection.open() as client:
            return tuple(self._listed(client, model) for model in all_models(client, self.prefix))

    def _listed(self, client: MlflowClient, model: RegisteredModel) -> Listed:
        versions = {int(v.version): v for v in all_versions(client, model.name)}
        aliases = known_aliases(model)
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
            folder = fetch_artifact(client, self.uri, version)
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
            folder = fetch_artifact(client, self.uri, version)
            manifest = load_artifact(folder).manifest
            aliases = known_aliases(client.get_registered_model(version.name))
            lineage = lineage_of(client, self.prefix, manifest)
        number = int(version.version)
        return Shown(
            task=version.name[len(self.prefix) + 1 :],
            name=version.name,
            version=number,
            aliases=tuple(sorted(alias for alias, place in aliases.items() if place == number)),
            run_id=version.run_id or None,
            created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
            folder=folder,
            files={path.name: path.stat().st_size for path in sorted(folder.iterdir())},
            tags=dict(version.tags),
            manifest=manifest,
            lineage=lineage,
        )

    def diff(self, a: str, b: str) -> Diff:
        """Two versions side by side.

        Args:
            a, b: references, as `resolve` reads them; of one task or of two.

        Raises:
            InputError: as `get`.
        """
        return compare(self.show(a), self.show(b))

    def promote(
        self,
        task: str,
        version: int,
        alias: str = CHAMPION,
        *,
        by: str | None = None,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        expected: int | Unspecified | None = UNSPECIFIED,
    ) -> Promotion:
        """Points an alias to a version, and writes down who did, when and why.

        Args:
            by: who; this process's user@host by default.
            reason: why. evidence: what the decision rests on, plain data.
            expected: the version that the alias points to now as the caller believes; None for no version.

        Raises:
            InputError: no such task or version; the alias cannot be one; it does not point to what is expected, and
                the error says who moved it. Nothing is changed then.
        """
        check_alias(alias)
        with self.connection.open() as client:
            found = find_version(client, self.prefix, f"{task}@v{version}", where=self.uri)
            wish = Wish(task, found.name, alias, "promote", lambda *_: version, by, reason, evidence, expected)
            return move(client, self._log(client), wish)

    def rollback(self, task: str, *, alias: str = CHAMPION, by: str | None = None, reason: str = "") -> Promotion:
        """Points an alias to the version before the present one, as the history tells; twice goes back twice.

        Raises:
            InputError: no such task or alias; the history knows no version before, or it was deleted; somebody moved
                the alias at the same time. Nothing is changed then.
        """
        check_alias(alias)
        with self.connection.open() as client:
            name = find_version(client, self.prefix, f"{task}@{alias}", where=self.uri).name

            def choose(chain: Chain, present: int | None) -> int:
                version = the_version_before(chain, present, task=task, alias=alias)
                find_version(client, self.prefix, f"{task}@v{version}", where=self.uri)
                return version

            return move(client, self._log(client), Wish(task, name, alias, "rollback", choose, by, reason))

    def history(self, task: str) -> builtins.list[Promotion]:
        """Every move of a task's aliases, the newest first.

        Raises:
            InputError: no such task.
        """
        with self.connection.open() as client:
            find_task(client, self.prefix, task, where=self.uri)
            log = self._log(client)
            found = [one for chain in log.chains(task).values() for one in chain.decisions]
            return [log.whole(one) for one in sorted(found, key=lambda one: one.number, reverse=True)]

    def aliases(self, alias: str = CHAMPION) -> dict[str, int]:
        """Task → the version that its alias points to, where it has that alias. One query, for whoever asks often."""
        check_alias(alias)
        with self.connection.open() as client:
            found = {
                model.name[len(self.prefix) + 1 :]: known_aliases(model) for model in all_models(client, self.prefix)
            }
        return {task: aliases[alias] for task, aliases in found.items() if alias in aliases}
