"""The champions in use: read from the registry, built beside the ones that answer, then put in their place at once.

A row is read by one set of champions and answered by the same, whatever happens meanwhile: it carries its predictor.
So a promotion drops nothing; who was asked before it answers, who is asked after it is the new one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError
from pipeline.registry import (
    RESERVED_NAMES,
    Artifact,
    BackboneIdentity,
    Manifest,
    Predictor,
    PromptRegistry,
    load_artifact,
    open_backbone,
)
from pipeline.registry.versions.lookup import CHALLENGER, CHAMPION

LOG = logging.getLogger(__name__)
BACKBONES = 2  # in memory at most: the one in use, and the one that replaces it
RETRY_SECONDS = 30.0  # until a version that could not be served is tried again
Version = tuple[str, int]


@dataclass(frozen=True)
class Served:
    """One prompt that answers.

    Args:
        task: its task. alias: "champion" or "challenger". version: of the registered model. manifest: what it is.
        predictor: what answers with it, and with every other prompt of its backbone.
    """

    task: str
    alias: str
    version: int
    manifest: Manifest
    predictor: Predictor


@dataclass(frozen=True)
class Champions:
    """All prompts that answer at one moment; never changed, only replaced.

    Args:
        served: name by which rows call it (`intent`, `intent@challenger`) → prompt.
        refused: name → why its newest version cannot be served; an earlier one may be in `served`.
    """

    served: Mapping[str, Served] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class Keeper:
    """Keeps `current` at what the registry's aliases say.

    Args:
        registry: where the champions are.
        model: where their backbone is now, when its folder has moved.
        rows_per_batch: rows of one forward pass.
    """

    def __init__(self, registry: PromptRegistry, model: str | None = None, rows_per_batch: int = 32) -> None:
        self.registry = registry
        self.current = Champions()
        self.swaps = 0
        self._model = model
        self._rows = rows_per_batch
        self._wanted: dict[str, Version] = {}
        self._loaded: dict[Version, Artifact] = {}
        self._retry = 0.0

    def refresh(self) -> bool:
        """Looks at the aliases and takes in what changed; whether anything did. One caller at a time.

        Raises:
            InputError: the registry does not answer; what answers now goes on doing so.
        """
        wanted = aliases(self.registry)
        again = bool(self.current.refused) and time.monotonic() >= self._retry
        if wanted == self._wanted and not again:
            return False
        before, self.current = self.current, self._build(wanted)
        self._wanted, self._retry = wanted, time.monotonic() + RETRY_SECONDS
        changed = _versions(before) != _versions(self.current)
        self.swaps += changed
        return changed

    def _build(self, wanted: Mapping[str, Version]) -> Champions:
        """The champions wanted; where one cannot be loaded, the version that answered so far."""
        chosen: dict[str, Version] = {}
        refused: dict[str, str] = {}
        for name, version in wanted.items():
            try:
                self._load(version)
                chosen[name] = version
            except InputError as error:
                LOG.warning("%s cannot be served: %s", name, error.message)
                refused[name] = error.message
                if name in self.current.served:
                    chosen[name] = (version[0], self.current.served[name].version)
        self._loaded = {version: self._loaded[version] for version in set(chosen.values())}
        groups: dict[tuple[str, str], dict[str, Artifact]] = {}
        for name, version in chosen.items():
            identity = self._loaded[version].manifest.backbone
            groups.setdefault((identity.fingerprint, identity.dtype), {})[name] = self._loaded[version]
        served: dict[str, Served] = {}
        for group in sorted(groups.values(), key=len, reverse=True)[BACKBONES:]:
            refused |= dict.fromkeys(group, f"more than {BACKBONES} backbones would be in memory at once")
        for group in sorted(groups.values(), key=len, reverse=True)[:BACKBONES]:
            predictor = self._predictor(group)
            for name, artifact in group.items():
                task, number = chosen[name]
                alias = CHALLENGER if name.endswith(f"@{CHALLENGER}") else CHAMPION
                served[name] = Served(task, alias, number, artifact.manifest, predictor)
        return Champions({name: served[name] for name in sorted(served)}, refused)

    def _load(self, version: Version) -> None:
        """Fetches, checks and tries an artifact: one that cannot answer is refused here, alone."""
        if version in self._loaded:
            return
        task, number = version
        artifact = load_artifact(self.registry.get(f"{task}@v{number}"))
        Predictor(self._backbone(artifact.manifest.backbone), {task: artifact})
        self._loaded[version] = artifact

    def _predictor(self, group: Mapping[str, Artifact]) -> Predictor:
        identity = next(iter(group.values())).manifest.backbone
        return Predictor(self._backbone(identity), group, self._rows)

    def _backbone(self, identity: BackboneIdentity) -> Any:
        return open_backbone(identity, model=self._model)


def aliases(registry: PromptRegistry) -> dict[str, Version]:
    """What should answer: name by which rows call it → task and version.

    Raises:
        InputError: the registry does not answer.
    """
    wanted = {task: (task, version) for task, version in registry.aliases(CHAMPION).items()}
    wanted |= {f"{task}@{CHALLENGER}": (task, version) for task, version in registry.aliases(CHALLENGER).items()}
    return {name: version for name, version in wanted.items() if version[0] not in RESERVED_NAMES}


def _versions(champions: Champions) -> dict[str, int]:
    return {name: served.version for name, served in champions.served.items()}
