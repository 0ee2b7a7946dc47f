"""What is noted on versions and runs beside their aliases: by whom they are found again, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.registry.versions.lookup import TAG, all_pages, all_versions, find_model
from pipeline.registry.versions.store import PromptRegistry


@dataclass(frozen=True)
class Noted:
    """A version with its notes.

    Args:
        created: when it was registered, UTC. aliases: those that point to it. notes: its tags of this project, without
            their common beginning.
    """

    version: int
    created: datetime
    run_id: str | None
    aliases: frozenset[str]
    notes: Mapping[str, str]


def noted_versions(registry: PromptRegistry, task: str) -> tuple[Noted, ...]:
    """Every version of a task, oldest first; none where the registry has no such task.

    Raises:
        InputError: MLflow does not answer.
    """
    with registry.connection.open() as client:
        model = find_model(client, f"{registry.prefix}.{task}")
        if model is None:
            return ()
        aliases: dict[int, set[str]] = {}
        for alias, version in model.aliases.items():
            aliases.setdefault(int(version), set()).add(alias)
        found = sorted(all_versions(client, model.name), key=lambda version: int(version.version))
    return tuple(
        Noted(
            version=int(one.version),
            created=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
            run_id=one.run_id or None,
            aliases=frozenset(aliases.get(int(one.version), ())),
            notes={key.removeprefix(TAG): value for key, value in one.tags.items() if key.startswith(TAG)},
        )
        for one in found
    )


def note_version(registry: PromptRegistry, task: str, version: int, notes: Mapping[str, str]) -> None:
    """Adds notes to a version, in place of earlier ones of the same names."""
    with registry.connection.open() as client:
        for key, value in notes.items():
            client.set_model_version_tag(f"{registry.prefix}.{task}", str(version), TAG + key, value)


def note_run(registry: PromptRegistry, run_id: str, notes: Mapping[str, str]) -> None:
    """Adds notes to a run."""
    with registry.connection.open() as client:
        for key, value in notes.items():
            client.set_tag(run_id, TAG + key, value)


def noted_runs(registry: PromptRegistry, key: str, value: str) -> tuple[dict[str, str], ...]:
    """The notes of every finished run that has this one; `task` among them where it is a task's.

    A run that still goes, or was deleted, is not among them.
    """
    with registry.connection.open() as client:
        experiment = client.get_experiment_by_name(registry.prefix)
        if experiment is None:
            return ()
        runs = all_pages(
            client.search_runs,
            experiment_ids=[experiment.experiment_id],
            filter_string=f"tags.`{TAG}{key}` = '{value}' and attributes.status = 'FINISHED'",
        )
    return tuple({name.removeprefix(TAG): told for name, told in run.data.tags.items()} for run in runs)


def fetch_file(registry: PromptRegistry, run_id: str, name: str) -> bytes | None:
    """A file that was logged to a run; None where it has none of that name."""
    with registry.connection.open() as client, TemporaryDirectory() as scratch:
        if name not in {one.path for one in client.list_artifacts(run_id)}:
            return None
        return Path(client.download_artifacts(run_id, name, scratch)).read_bytes()
