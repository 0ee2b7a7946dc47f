"""A run that is not finished, in MLflow: where its log, plan and events are while it goes on, and after it has failed.

The finished run is another record (`tracking.log_run`), which takes the files over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.registry.versions.lookup import TAG
from pipeline.registry.versions.store import PromptRegistry

UNFINISHED = TAG + "unfinished"
"""The tag by which such records are known."""
JOURNAL = "journal"
"""The folder of log, plan and events among a run's artifacts."""


def keep_unfinished(
    registry: PromptRegistry,
    run_id: str | None,
    name: str,
    files: Sequence[Path],
    *,
    status: str = "RUNNING",
    tags: Mapping[str, str] | None = None,
) -> str:
    """Brings files to the record of an unfinished run, in place of earlier ones of their names.

    Args:
        run_id: the record; a new one is made where there is none or it is gone.
        status: RUNNING, FAILED or KILLED.

    Returns:
        The record's id.

    Raises:
        InputError: MLflow does not answer or refuses.
    """
    from mlflow.exceptions import MlflowException

    with registry.connection.open() as client:
        try:
            known = run_id is not None and client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException:
            known = False
        if not known or run_id is None:
            own = {**(tags or {}), UNFINISHED: "true"}
            run_id = str(client.create_run(registry.experiment(client), tags=own, run_name=name).info.run_id)
        for file in files:
            client.log_artifact(run_id, str(file), JOURNAL)
        if status == "RUNNING":
            client.update_run(run_id, status=status)
        else:
            client.set_terminated(run_id, status)
    return run_id


def take_over(registry: PromptRegistry, unfinished: str | None, finished: str, files: Sequence[Path]) -> None:
    """Brings files to a finished run, and deletes the record of the time when it was not finished.

    Raises:
        InputError: MLflow does not answer or refuses.
    """
    from mlflow.exceptions import MlflowException

    with registry.connection.open() as client:
        for file in files:
            client.log_artifact(finished, str(file), JOURNAL)
        if unfinished is None:
            return
        try:
            client.delete_run(unfinished)
        except MlflowException:
            return  # gone already, or in another registry
