"""The current shared prompt, out of the registry: adaptation starts from it until the tasks or the backbone change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.registry import SHARED_PROMPT, Manifest, PromptRegistry, load_artifact
from pipeline.registry.versions.lookup import CHAMPION
from pipeline.registry.versions.notes import Noted, fetch_file, noted_versions
from pipeline.training.pretraining.shared import SharedPrompt
from pipeline.training.results import SHARED_FILES, load_shared, save_shared
from workflows.stages.artifacts import WINNER
from workflows.stages.graph import RunGraph
from workflows.stages.settled import GivenPrompt


@dataclass(frozen=True)
class Current:
    """The shared prompt that `champion` points to."""

    version: Noted
    manifest: Manifest


def current_shared(registry: PromptRegistry) -> Current | None:
    """The registry's, or None where there is none yet."""
    for one in noted_versions(registry, SHARED_PROMPT):
        if CHAMPION in one.aliases:
            return Current(one, registry.show(f"{SHARED_PROMPT}@v{one.version}").manifest)
    return None


def why_pretrain(graph: RunGraph, current: Current | None) -> str | None:
    """Why the shared prompt must be trained again; None where the current one serves, or none is wanted."""
    if graph.config.pretrain is None:
        return None
    if current is None:
        return "the registry has no shared prompt yet"
    told = current.manifest
    if told.backbone.fingerprint != graph.info.fingerprint:
        return f"the backbone changed since shared prompt v{current.version.version}"
    prompt, trained = graph.config.prompt, told.training.get("pretrain") or {}
    if (told.method, told.layout) != (prompt.method, prompt.layout):
        return f"the prompts' method changed since shared prompt v{current.version.version}"
    if trained.get("kind", "shared") != graph.config.pretrain.kind:
        return f"the kind of pretraining changed since shared prompt v{current.version.version}"
    before = {source.rpartition("/")[0] for source in told.data}
    now = set(graph.pretrain_stage_tasks)
    if before != now:
        changes = [f"+{name}" for name in sorted(now - before)] + [f"-{name}" for name in sorted(before - now)]
        return f"the task set changed since shared prompt v{current.version.version}: {' '.join(changes)}"
    lowest = min(min(graph.first_layers(task)) for task in graph.config.adapt_tasks)
    if told.first_layers[0] > lowest:
        return (
            f"shared prompt v{current.version.version} begins at layer {told.first_layers[0]}, the search at {lowest}"
        )
    return None


def fetch_shared(registry: PromptRegistry, current: Current, folder: Path) -> GivenPrompt:
    """Puts the shared prompt in `folder`, as the pretrain stage leaves it, with the heads of its source tasks.

    Raises:
        InputError: a file is not the one that was registered.
    """
    heads = current.version.notes.get("files", "none")
    fingerprint = hashlib.sha256(f"{current.manifest.fingerprint} {heads}".encode()).hexdigest()
    mark = folder / "given"
    if mark.is_file() and mark.read_text(encoding="utf-8") == fingerprint:
        return GivenPrompt(folder, fingerprint)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    registry.get(f"{SHARED_PROMPT}@v{current.version.version}", part / WINNER)
    prompts = [member.prompt for member in load_artifact(part / WINNER).members]
    if not _fetch_heads(registry, current.version, part):  # registered without its heads: those start anew
        save_shared(part, SharedPrompt(torch.stack(prompts).mean(0), {}, []))
    elif not _holds(load_shared(part), prompts):
        raise InputError(
            "the heads were logged with another prompt", where=f"{SHARED_PROMPT} v{current.version.version}"
        )
    (part / "given").write_text(fingerprint, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    return GivenPrompt(folder, fingerprint)


def _holds(logged: SharedPrompt, prompts: Sequence[Tensor]) -> bool:
    """Whether what was logged is of the registered prompts: of retrieval the sources', else the one."""
    known = list(logged.own.values()) or [logged.prompt]
    return all(any(torch.equal(one, other) for other in known) for one in prompts)


def _fetch_heads(registry: PromptRegistry, version: Noted, folder: Path) -> bool:
    run_id, sums = version.notes.get("files_run"), version.notes.get("files")
    if run_id is None or sums is None:
        return False
    expected = json.loads(sums)
    for name in SHARED_FILES:
        content = fetch_file(registry, run_id, name)
        if content is None:
            return False
        found = hashlib.sha256(content).hexdigest()
        if found != expected.get(name):
            where = f"{SHARED_PROMPT} v{version.version}: {name}"
            what = "the file was changed after it was logged"
            raise InputError(what, where=where, found=found, expected=expected.get(name))
        (folder / name).write_bytes(content)
    return True
