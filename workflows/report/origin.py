"""Where and when a run was computed: kept beside its stages, for its report may be written again, later, elsewhere."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import pipeline
from pipeline.training.world import save_json
from workflows.stages.graph import RunGraph
from workflows.stages.stage import read_record
from workflows.summary import RunSummary

RECORD = "run.json"
"""In the run's folder: when, where and for how long it was last worked on, and what failed."""
PACKAGES = ("torch", "transformers", "datasets", "ray", "deepspeed", "mlflow")


def record_run(graph: RunGraph, summary: RunSummary) -> None:
    """Keeps what only the invocation that computed something knows."""
    graph.folder.mkdir(parents=True, exist_ok=True)
    told = {"finished": now(), "seconds": summary.seconds, "failed": dict(summary.failed), **_here()}
    save_json(graph.folder / RECORD, told)


def origin(graph: RunGraph) -> Mapping[str, Any]:
    """What `record_run` kept; of a run that kept nothing, this machine, with `finished` None."""
    kept = read_record(graph.folder / RECORD)
    return kept if kept is not None else {"finished": None, "seconds": None, "failed": {}, **_here()}


def now() -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def _here() -> dict[str, Any]:
    import psutil
    import torch

    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "version": pipeline.__version__,
        "machine": {
            "system": platform.platform(),
            "processors": f"{os.cpu_count()} × {platform.machine()}",
            "memory": psutil.virtual_memory().total,
            "accelerators": ", ".join(devices) or "none",
            "python": platform.python_version(),
        },
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
