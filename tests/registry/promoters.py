"""A promoter, of which a test starts several at once, each in a process of its own."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry


def promote(shared: dict[str, Any]) -> None:
    """Opens a new database, then in each registry: registers what all register, is the one to promote from version 1,
    and promotes again and again. What came of it is written to `told-ME.json`."""
    import mlflow  # noqa: F401  so that nobody is late because of it

    me, everybody, place = shared["me"], shared["everybody"], Path(shared["folder"])

    def together(point: str) -> None:
        (place / f"{point}-{me}").touch()
        until = time.monotonic() + 120
        while len(list(place.glob(f"{point}-*"))) < everybody:
            assert time.monotonic() < until, f"the others did not come to {point}"
            time.sleep(0.005)

    told: dict[str, object] = {}
    together("new")
    PromptRegistry(shared["fresh"]).check()
    for number, uri in enumerate(shared["registries"]):
        registry = PromptRegistry(uri, prefix="raced")
        registry.check()
        together(f"register{number}")
        same = registry.register(Path(shared["artifact"]), alias=None).version
        together(f"promote{number}")
        try:
            registry.promote("intent", me + 2, by=f"promoter {me}", reason="the race", expected=1)
            lost = None
        except InputError as error:
            lost = error.message
        together(f"again{number}")
        mine = [
            asdict(registry.promote("intent", 1 + (me + turn) % 3, by=f"promoter {me}"))
            for turn in range(shared["each"])
        ]
        told[uri] = {"same": same, "lost": lost, "mine": mine}
    (place / f"told-{me}.json").write_text(json.dumps(told))
