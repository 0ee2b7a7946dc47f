"""How a group of workers holds the frozen backbone: a whole copy each, or shared out between them, and why.

Sharing out costs two gathers of every layer per step; a copy costs memory. So a copy wins wherever it fits with room
for activations. Nothing here imports DeepSpeed: the plan asks the same question as the run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError, nearest

Kind = Literal["none", "zero3"]
REQUESTS = ("auto", "none", "zero3")

SHARE_FOR_WEIGHTS = 0.6
"""Of a worker's memory, the most that a whole copy of the backbone may take; the rest is for activations."""

INSTALL = {
    "deepspeed": "pip install deepspeed",
    "accelerate": "pip install accelerate",  # transformers loads shards with it
    "g++": "install a C++ compiler (apt-get install build-essential)",
    "ninja": "pip install ninja",
}


@dataclass(frozen=True)
class ShardingChoice:
    """How the backbone is held, and the reason in one line for the plan and the log."""

    kind: Kind
    reason: str


def choose_sharding(
    requested: str,
    *,
    backbone_bytes: int,
    workers: int,
    memory_per_worker: int,
    compiler: bool | None = None,
    whole: str | None = None,
    per_gpu: int = 0,
) -> ShardingChoice:
    """Decides between a copy per worker and ZeRO-3.

    Args:
        requested: "auto", "none" or "zero3".
        backbone_bytes: of one whole copy in its dtype.
        workers: ranks that share each training step.
        memory_per_worker: bytes: the memory of its GPU, or its share of the host's.
        compiler: whether DeepSpeed can start here; None looks at this machine.
        whole: why this backbone cannot be shared out (`BackboneInfo.whole`), if so.
        per_gpu: how many of the workers have to share a GPU; 0 without one.

    Raises:
        InputError: an unknown request; zero3 asked for where it cannot start, or for a backbone that cannot be shared.
    """
    if requested not in REQUESTS:
        raise InputError(
            "unknown sharding",
            where="backbone.sharding",
            found=requested,
            expected=list(REQUESTS),
            nearest=nearest(requested, REQUESTS),
        )
    copy, room = readable(backbone_bytes), readable(memory_per_worker)
    limit = int(SHARE_FOR_WEIGHTS * memory_per_worker)
    fits = backbone_bytes <= limit
    if requested == "none":
        doubt = "" if fits else f", though {copy} of weights leave little of the {room} per worker"
        return ShardingChoice("none", "asked for" + doubt)
    if workers < 2:
        asked = "zero3 was asked for, but " if requested == "zero3" else ""
        return ShardingChoice("none", f"{asked}one worker has nobody to share {copy} of weights with")
    if requested == "auto" and fits:
        return ShardingChoice(
            "none", f"{copy} of weights fit {workers} times: at most {readable(limit)} of {room} per worker"
        )
    if whole is not None:
        if requested == "zero3":
            raise cannot_share(whole)
        return ShardingChoice("none", f"{copy} of weights leave little of the {room} per worker, but {whole}")
    lacking = what_zero3_lacks(compiler)
    if requested == "zero3" and lacking:
        raise InputError(
            f"DeepSpeed cannot start here without {' and '.join(lacking)}",
            where="backbone.sharding",
            found=requested,
            expected="auto or none on this machine",
            hint="; ".join(lacking.values()),
        )
    if lacking:
        missing = " and ".join(lacking)
        return ShardingChoice(
            "none",
            f"{copy} of weights exceed {readable(limit)} of {room} per worker, "
            f"but zero3 cannot start without {missing} ({'; '.join(lacking.values())})",
        )
    share = readable(-(-backbone_bytes // workers))
    each = f"{share} on each of {workers} workers"
    if per_gpu > 1:
        each += f", {per_gpu} to a GPU: one to a GPU is faster (pretrain.workers: auto)"
    if requested == "zero3":
        return ShardingChoice("zero3", f"asked for, of {copy} of weights: {each}")
    return ShardingChoice(
        "zero3",
        f"{copy} of weights exceed {readable(limit)} of {room} per worker: {each}",
    )


def cannot_share(why: str) -> InputError:
    """What is said where zero3 is asked for and the family does not go through it."""
    return InputError(why, where="backbone.sharding", found="zero3", expected="auto or none")


def what_zero3_lacks(compiler: bool | None = None) -> dict[str, str]:
    """What DeepSpeed needs and does not find, each with what to do about it; empty where it can start.

    Args:
        compiler: True or False answers for the whole machine; None looks.
    """
    if compiler is not None:
        return {} if compiler else {tool: INSTALL[tool] for tool in ("g++", "ninja")}
    lacking = [package for package in ("deepspeed", "accelerate") if importlib.util.find_spec(package) is None]
    if not _has_gpu() and not _operator_is_built():
        # Without a GPU, DeepSpeed compiles a shared-memory operator whenever it starts on Linux.
        lacking += [tool for tool in ("g++", "ninja") if _which(tool) is None]
    return {tool: INSTALL[tool] for tool in lacking}


def has_compiler() -> bool:
    """Whether the tools are here that DeepSpeed needs to start on a processor: g++ and ninja."""
    return all(_which(tool) for tool in ("g++", "ninja"))


def search_path() -> str:
    """PATH with the environment's own bin folder: pip puts ninja there, and an environment need not be activated."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=search_path())


def _operator_is_built() -> bool:
    """Whether DeepSpeed was installed with its shared-memory operator compiled, as in our images (docker/)."""
    spec = importlib.util.find_spec("deepspeed")
    folders = spec.submodule_search_locations if spec is not None else None
    return any(any(Path(folder, "ops", "comm").glob("deepspeed_shm_comm_op*.so")) for folder in folders or ())


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def readable(size: int) -> str:
    """Bytes for a reader: `670 MB`, `1.3 GB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
