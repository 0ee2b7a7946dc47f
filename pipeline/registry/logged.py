"""An artifact as an MLflow model: what is logged, what its version's tags say, and where the artifact lies inside."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.registry.artifact import copy_artifact
from pipeline.registry.lookup import TAG, with_fingerprint
from pipeline.registry.manifest import SHARED_PROMPT, Manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PROMPT = "prompt"  # the artifact's folder inside the model


def log_model(client: MlflowClient, experiment: str, folder: Path, manifest: Manifest, run_id: str | None) -> str:
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
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={_PROMPT: f"{scratch}/{_PROMPT}"},
            pip_requirements=[f"deepprompt=={__version__}"],
        )
        client.log_model_artifacts(logged.model_id, f"{scratch}/model")
    if run_id is not None:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)


def fetch_artifact(client: MlflowClient, uri: str, name: str, version: int) -> Path:
    """The artifact's folder of a version: in place where the files are local, else downloaded."""
    import mlflow

    source = client.get_model_version_download_uri(name, str(version))
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=source, tracking_uri=uri)) / "artifacts" / _PROMPT


def version_tags(client: MlflowClient, prefix: str, manifest: Manifest) -> dict[str, str]:
    """What can be searched for: fingerprints, figures, the backbone, and the version of the shared prompt."""
    tags = {
        "fingerprint": manifest.fingerprint,
        "kind": manifest.kind,
        "backbone": manifest.backbone.name,
        "backbone_revision": manifest.backbone.revision,
        "backbone_fingerprint": manifest.backbone.fingerprint,
    }
    tags |= {f"data.{split}": sha256 for split, sha256 in manifest.data.items()}
    for split, figures in manifest.metrics.items():
        tags |= {f"metric.{split}.{metric}": repr(value) for metric, value in figures.items()}
    for parent in manifest.parents:
        version = with_fingerprint(client, f"{prefix}.{parent.name}", parent.fingerprint)
        if parent.name == SHARED_PROMPT and version is not None:
            tags["shared_prompt"] = f"{SHARED_PROMPT}@v{version}"
    return {TAG + key: value for key, value in tags.items()}
