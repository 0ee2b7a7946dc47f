"""What the doctor looks at: each check is a small function that finds something out and says what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.backbone.sharding import has_compiler, what_zero3_lacks
from pipeline.errors import InputError
from workflows.config.settings import Config, RegistrySettings
from workflows.doctor.preflight import check_disk, check_tracking
from workflows.words import amount

Status = Literal["ok", "warn", "fail"]
GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Patient:
    """What is examined: this machine, for one config where one is given.

    Args:
        config: the run that is to work here. address: a Ray cluster's. deep: import what is otherwise only looked up.
    """

    config: Config | None = None
    address: str | None = None
    deep: bool = False

    @property
    def sharded(self) -> bool:
        """Whether the config insists on DeepSpeed."""
        return self.config is not None and self.config.backbone.sharding == "zero3"


@dataclass(frozen=True)
class Finding:
    """One check's result: how it stands, what was found, what to do."""

    status: Status
    found: str
    advice: str = ""


CHECKS: dict[str, Callable[[Patient], Finding]] = {}


def _check(name: str) -> Callable[[Callable[[Patient], Finding]], Callable[[Patient], Finding]]:
    def register(function: Callable[[Patient], Finding]) -> Callable[[Patient], Finding]:
        CHECKS[name] = function
        return function

    return register


@_check("python")
def _python(patient: Patient) -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info[:2] != (3, 11):
        return Finding("warn", found, "deepprompt is tried on Python 3.11")
    return Finding("ok", found)


@_check("torch")
def _torch(patient: Patient) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("fail", "not installed", "pip install torch, before everything else")
    import torch

    return Finding("ok", f"{torch.__version__}, {torch.get_num_threads()} threads on {os.cpu_count()} processors")


@_check("devices")
def _devices(patient: Patient) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("ok", "no GPU; the processor is used")
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return Finding("ok", ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names)))


@_check("bfloat16")
def _bfloat16(patient: Patient) -> Finding:
    from pipeline.backbone import resolve_dtype

    if resolve_dtype("auto") == "bfloat16":
        return Finding("ok", "the hardware multiplies in bfloat16; dtype auto means bfloat16")
    asked = patient.config is not None and patient.config.backbone.dtype == "bfloat16"
    advice = "backbone.dtype: float32 is faster on this machine" if asked else ""
    return Finding("warn" if asked else "ok", "no hardware for bfloat16; dtype auto means float32", advice)


@_check("compiler")
def _compiler(patient: Patient) -> Finding:
    lacking = {tool: advice for tool, advice in what_zero3_lacks().items() if tool in ("g++", "ninja")}
    if not lacking:
        return Finding("ok", "g++ and ninja" if has_compiler() else "not needed: DeepSpeed's operator is installed")
    return Finding(
        "fail" if patient.sharded else "warn",
        f"no {' and no '.join(lacking)}: DeepSpeed cannot start on a processor, sharding auto means none",
        "; ".join(lacking.values()),
    )


@_check("deepspeed")
def _deepspeed(patient: Patient) -> Finding:
    trouble: Status = "fail" if patient.sharded else "warn"
    if importlib.util.find_spec("deepspeed") is None:
        return Finding(trouble, "not installed: sharding auto means none", "pip install deepspeed")
    if patient.deep:
        try:
            importlib.import_module("deepspeed")
        except Exception as error:  # whatever a broken installation raises is the finding
            return Finding(trouble, f"cannot be imported: {type(error).__name__}: {error}", "install it again")
    return Finding("ok", importlib.metadata.version("deepspeed"))


@_check("memory")
def _memory(patient: Patient) -> Finding:
    free = available_memory()
    found = f"{amount(free)} available"
    if free < GIGABYTE:
        return Finding("fail", found, "a worker needs about 1 GB besides the backbone; close other programs")
    if free < 3 * GIGABYTE:
        return Finding("warn", found, "set pretrain.workers and adapt.workers to 1")
    return Finding("ok", found)


def available_memory() -> int:
    """Bytes that this process may still take: the machine's, or less under a container's limit."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, StopIteration):
        return free
    return free


@_check("disk")
def _disk(patient: Patient) -> Finding:
    folder = patient.config.run_folder if patient.config is not None else Path.cwd()
    try:
        free = check_disk(folder, GIGABYTE)
    except InputError as problem:
        return Finding("fail", problem.message, "free some room, or set storage to another place")
    return Finding("ok", f"{amount(free)} free for {folder}")


@_check("backbone")
def _backbone(patient: Patient) -> Finding:
    from pipeline.backbone import describe

    model = patient.config.backbone.model if patient.config is not None else "minilm"
    revision = patient.config.backbone.revision if patient.config is not None else None
    try:
        info = describe(model, revision, attention=None if patient.config is None else patient.config.attention)
    except InputError as problem:
        return Finding("fail", problem.message, problem.hint or "see backbone.model in the config")
    return Finding("ok", f"{model}: {info.words}, {info.parameters / 1e6:.1f} M parameters")


@_check("ray")
def _ray(patient: Patient) -> Finding:
    if patient.config is not None and patient.config.launcher == "inline" and patient.address is None:
        return Finding("ok", "not needed: launcher inline")
    if importlib.util.find_spec("ray") is None:
        return Finding("fail", "not installed", "pip install 'ray[default]', or use --launcher inline")
    version = importlib.metadata.version("ray")
    address = patient.address or os.environ.get("RAY_ADDRESS")
    if not address or address in ("auto", "local"):
        return Finding("ok", f"{version}; a run starts its own")
    try:
        return Finding("ok", f"{version}; {address} {_answer_of(address)}")
    except (OSError, ValueError) as error:
        return Finding("fail", f"{address} does not answer ({error})", "start it with `ray start --head`, or mend it")


def _answer_of(address: str) -> str:
    parts = urllib.parse.urlsplit(address if "://" in address else f"ray://{address}")
    if parts.scheme in ("http", "https"):
        with urllib.request.urlopen(address.rstrip("/") + "/api/version", timeout=5) as answer:
            return f"answers ({answer.status})"
    socket.create_connection((parts.hostname or "localhost", parts.port or 6379), timeout=5).close()
    return "answers"


@_check("mlflow")
def _mlflow(patient: Patient) -> Finding:
    if importlib.util.find_spec("mlflow") is None:
        return Finding("fail", "not installed", "pip install mlflow")
    uri = patient.config.registry.uri if patient.config is not None else RegistrySettings().uri
    try:
        found = check_tracking(uri)
    except InputError as problem:
        return Finding("fail", problem.what, problem.hint or "see registry.uri in the config")
    return Finding("ok", f"{importlib.metadata.version('mlflow')}; {found}")
