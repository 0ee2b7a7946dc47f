"""A group of ranks on Ray Train: one `TorchTrainer`, its checkpoints, and the errors that come out of it."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from cluster.launcher import GroupWork, Payload, WorkFailed, failure
from cluster.on_ray.events import Sink
from cluster.on_ray.retry import StopAtLastingErrors
from cluster.on_ray.snapshot import mend_snapshot, remember_snapshot
from cluster.on_ray.start import environment
from cluster.shares import Share
from pipeline.errors import InputError
from pipeline.training.world import Writer

SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the controller's pace: start, reports and end wait for it
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # importing torch on a loaded machine takes longer than 60 s
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class RayWorld:
    """A rank of a Ray Train group; see `pipeline.training.world.World`."""

    def __init__(self, sink: Sink, folder: Path) -> None:
        context = ray.train.get_context()
        self.rank = int(context.get_world_rank())
        self.size = int(context.get_world_size())
        self._sink = sink
        self._folder = folder

    def event(self, **fields: Any) -> None:
        if self.rank == 0:
            self._sink(fields)

    def save(self, write: Writer, step: int) -> None:
        # The name is unique because Ray deletes old checkpoints by name, and a step may be saved twice after a restart.
        report = partial(ray.train.report, {"step": step}, checkpoint_dir_name=f"{step:08d}-{secrets.token_hex(4)}")
        if self.rank != 0:
            report()
            return
        with tempfile.TemporaryDirectory() as part:
            write(Path(part))
            report(checkpoint=ray.train.Checkpoint.from_directory(part))
        # A report is on disk, but counts only once the controller has entered it in its record: up to 0.2 s.
        ray.train.get_all_reported_checkpoints(consistency_mode=ray.train.CheckpointConsistencyMode.COMMITTED)
        remember_snapshot(self._folder)

    def latest(self) -> Path | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        on_disk = Path(checkpoint.path)
        return on_disk if on_disk.is_dir() else Path(checkpoint.to_directory())


def run_group(
    work: GroupWork, payload: Payload, *, workers: int, each: Share, folder: Path, name: str, sink: Sink
) -> Any:
    """Runs `work` on `workers` ranks that reserve `each`; see `Launcher.group`.

    Ray keeps checkpoints in `folder/name`, which must lie on storage that every node reaches. A group that already
    finished runs again from its last checkpoint, which costs its start and little else.
    """
    mend_snapshot(folder / name)
    trainer = _Trainer(
        partial(_rank, work, payload, each.threads, sink, folder / name),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=each.gpus > 0,
            resources_per_worker={"CPU": each.cpus} | ({"GPU": each.gpus} if each.gpus else {}),
        ),
        # NCCL refuses two ranks on one GPU; gloo does not.
        torch_config=TorchConfig(backend="nccl" if each.gpus == 1 else "gloo"),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(folder),
            failure_config=ray.train.FailureConfig(max_failures=2),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    with environment(SETTINGS):
        return _fit(trainer).return_value


class _Trainer(TorchTrainer):  # type: ignore[misc]  # Ray ships no types
    """A `TorchTrainer` that does not try again what can only fail again (20 s each time)."""

    def _initialize_and_run_controller(self, **settings: Any) -> Any:
        # A private seam of Ray: should a later Ray not call it, mistakes are merely found out more slowly.
        settings["failure_policy"] = StopAtLastingErrors(self.run_config.failure_config)
        return super()._initialize_and_run_controller(**settings)


def _rank(work: GroupWork, payload: Payload, threads: int, sink: Sink, folder: Path) -> Any:
    """What every rank runs."""
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # DeepSpeed takes it for the number of its GPU. Ray counts the ranks of a node, but of those that share one GPU
        # each sees that one alone, as number 0. Ray has chosen the right one already.
        os.environ["LOCAL_RANK"] = str(torch.cuda.current_device())
    try:
        return work(payload, RayWorld(sink, folder))
    except InputError:
        raise
    except Exception as error:
        raise failure(error) from error
    finally:
        sink.flush()


def _fit(trainer: TorchTrainer) -> Any:
    """`trainer.fit()`, with errors as the launcher tells them.

    In a thread: in the main one Ray would put its own Ctrl-C handler in place, for good, and an interrupted run would
    look like one that finished with nothing to return.
    """
    end: dict[str, Any] = {}

    def fit() -> None:
        try:
            end["result"] = trainer.fit()
        except BaseException as error:
            end["error"] = error

    thread = threading.Thread(target=fit, name="group", daemon=True)
    thread.start()
    thread.join()
    if "error" in end:
        raise _told(end["error"]) from end["error"]
    return end["result"]


def _told(error: BaseException) -> InputError | WorkFailed:
    """The one error that explains the end of a group: a mistake of the user's, else what cannot be a consequence."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, InputError) or (isinstance(cause, WorkFailed) and not cause.passing):
            return cause
    for cause in causes:
        if isinstance(cause, ray.exceptions.RayActorError):
            return WorkFailed("WorkerDied", str(cause), passing=True)
    for cause in causes:
        if isinstance(cause, WorkFailed):
            return cause
    return WorkFailed(type(error).__name__, str(error), passing=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What Ray wrapped, rank by rank; the wrappings have no common name for what they hold."""
    yield error
    failures = getattr(error, "worker_failures", None) or {}
    inner = [getattr(error, name, None) for name in ("controller_failure", "health_check_failure", "cause")]
    for cause in [*failures.values(), *inner]:
        if isinstance(cause, BaseException):
            yield from _causes(cause)
