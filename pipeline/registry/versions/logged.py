"""An artifact as an MLflow model: what is logged, what its version's tags say, and where the artifact lies inside."""

from __future__ import annotations

import json
import os
import tempfile
import urllib.parse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.registry.artifact import copy_artifact, load_artifact
from pipeline.registry.manifest import SHARED_PROMPT, Manifest
from pipeline.registry.versions.entries import Ancestor
from pipeline.registry.versions.lookup import TAG, with_fingerprint

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_PROMPT = "prompt"
_INSIDE = ("data", "artifacts")
"""Where the artifact's folder lies inside a model: today, and where the first versions logged it."""


def add_version(
    client: MlflowClient, prefix: str, experiment: str, folder: Path, manifest: Manifest, run_id: str | None
) -> tuple[int, bool]:
    """Makes an artifact the next version of its registered model, which is there.

    Returns:
        Its version, and False where somebody registered the same at the same time and was first.
    """
    name = f"{prefix}.{manifest.name}"
    model_id = _log_model(client, experiment, folder, manifest, run_id)
    # The tags come with the version, not after it: without its fingerprint it would be registered again.
    tags = _version_tags(client, prefix, manifest)
    made = client.create_model_version(name, f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id)
    first = with_fingerprint(client, name, manifest.fingerprint) or int(made.version)
    if first != int(made.version):
        client.delete_model_version(name, made.version)
    return first, first == int(made.version)


def _log_model(client: MlflowClient, experiment: str, folder: Path, manifest: Manifest, run_id: str | None) -> str:
    """Logs an artifact folder as a plain MLflow model, without the backbone.

    Returns:
        The id of the logged model.
    """
    import mlflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    logged = client.create_logged_model(experiment, manifest.name, source_run_id=run_id, model_type="deepprompt")
    model = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id
    )
    with tempfile.TemporaryDirectory() as scratch:
        copy_artifact(folder, Path(scratch) / _PROMPT)
        mlflow.pyfunc.save_model(
            path=f"{scratch}/model",
            mlflow_model=model,
            loader_module="pipeline.registry.versions.pyfunc_model",
            data_path=f"{scratch}/{_PROMPT}",
            pip_requirements=[f"deepprompt=={__version__}"],
        )
        client.log_model_artifacts(logged.model_id, f"{scratch}/model")
    if run_id is not None:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def fetch_artifact(client: MlflowClient, uri: str, version: ModelVersion) -> Path:
    """The artifact's folder of a version: in place where the files are local, else downloaded once and kept.

    What is kept is looked up by the artifact's fingerprint and read like any artifact: every hash is checked.

    Raises:
        InputError: it is another artifact than the version's tags say.
    """
    from mlflow.artifacts import download_artifacts

    fingerprint = str(version.tags.get(TAG + "fingerprint", ""))
    source = client.get_model_version_download_uri(version.name, str(version.version))
    if urllib.parse.urlsplit(source).scheme in ("", "file"):
        place = _place(Path(download_artifacts(artifact_uri=source, tracking_uri=uri)))
        _check(place, fingerprint, version)
        return place
    kept = kept_artifacts() / fingerprint
    with suppress(InputError):
        _check(kept, fingerprint, version)
        return kept
    with tempfile.TemporaryDirectory() as scratch:
        place = _place(Path(download_artifacts(artifact_uri=source, tracking_uri=uri, dst_path=scratch)))
        _check(place, fingerprint, version)
        try:
            copy_artifact(place, kept)
        except (InputError, OSError):
            _check(kept, fingerprint, version)  # another process has just kept it; else the disk's own error is told
    return kept


def _place(model: Path) -> Path:
    """The artifact's folder inside a logged model's."""
    own = [model / inside / _PROMPT for inside in _INSIDE]
    return next((folder for folder in own if folder.is_dir()), own[0])


def kept_artifacts() -> Path:
    """Where artifacts from a server are kept, by fingerprint."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepprompt" / "artifacts"


def _check(folder: Path, fingerprint: str, version: ModelVersion) -> None:
    found = load_artifact(folder).manifest.fingerprint
    if found != fingerprint:
        what = f"version {version.version} of {version.name} was registered as another artifact"
        raise InputError(what, where=str(folder), found=found, expected=fingerprint)


def lineage_of(client: MlflowClient, prefix: str, manifest: Manifest) -> tuple[Ancestor, ...]:
    """What an artifact came from, the nearest first, as far back as the registry knows."""
    found: dict[str, Ancestor] = {}
    ahead = [(parent.name, parent.fingerprint) for parent in manifest.parents]
    while ahead:
        name, fingerprint = ahead.pop(0)
        if fingerprint in found:
            continue
        version = with_fingerprint(client, f"{prefix}.{name}", fingerprint)
        tags = {} if version is None else client.get_model_version(f"{prefix}.{name}", str(version)).tags
        tasks = tuple(filter(None, tags.get(TAG + "tasks", "" if name == SHARED_PROMPT else name).split(", ")))
        found[fingerprint] = Ancestor(name, version, fingerprint, tasks)
        ahead += [tuple(parent) for parent in json.loads(tags.get(TAG + "parents", "[]"))]
    return tuple(found.values())


def _version_tags(client: MlflowClient, prefix: str, manifest: Manifest) -> dict[str, str]:
    """What can be searched for: fingerprints, figures, the backbone, and the version of the shared prompt."""
    tags = {
        "fingerprint": manifest.fingerprint,
        "kind": manifest.kind,
        "backbone": manifest.backbone.name,
        "backbone_revision": manifest.backbone.revision,
        "backbone_fingerprint": manifest.backbone.fingerprint,
        "tasks": ", ".join(dict.fromkeys(_tasks_of(manifest))),
        "members": str(len(manifest.lengths)),
    }
    tags |= {f"data.{split}": sha256 for split, sha256 in manifest.data.items()}
    for split, figures in manifest.metrics.items():
        tags |= {f"metric.{split}.{metric}": repr(value) for metric, value in figures.items()}
    if manifest.origin is not None:
        tags["origin"] = manifest.origin.format
    if manifest.parents:
        tags["parents"] = json.dumps([(parent.name, parent.fingerprint) for parent in manifest.parents])
    for parent in manifest.parents:
        version = with_fingerprint(client, f"{prefix}.{parent.name}", parent.fingerprint)
        if version is not None:
            key = "shared_prompt" if parent.name == SHARED_PROMPT else f"parent.{parent.fingerprint[:12]}"
            tags[key] = f"{parent.name}@v{version}"
    return {TAG + key: value for key, value in tags.items()}


def _tasks_of(manifest: Manifest) -> list[str]:
    """The tasks whose rows an artifact was trained on; a shared prompt's data is TASK/SPLIT."""
    return [key.partition("/")[0] for key in manifest.data] if manifest.kind == "shared" else [manifest.name]
