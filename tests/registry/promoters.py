"""A promoter, of which a test starts several at once: `python -m tests.registry.promoters JSON`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from pipeline.errors import InputError
from pipeline.registry import PromptRegistry


def main(me: int, everybody: int, folder: str, fresh: str, registries: list[str], artifact: str, each: int) -> None:
    """Opens a new database, then in each registry: registers what all register, is the one to promote from version 1,
    and promotes again and again. What came of it is written to `told-ME.json`."""
    import mlflow  # noqa: F401  so that nobody is late because of it

    place = Path(folder)

    def together(point: str) -> None:
        (place / f"{point}-{me}").touch()
        until = time.monotonic() + 120
        while len(list(place.glob(f"{point}-*"))) < everybody:
            assert time.monotonic() < until, f"the others did not come to {point}"
            time.sleep(0.005)

    told: dict[str, object] = {}
    together("new")
    PromptRegistry(fresh).check()
    for number, uri in enumerate(registries):
        registry = PromptRegistry(uri, prefix="raced")
        registry.check()
        together(f"register{number}")
        same = registry.register(Path(artifact), alias=None).version
        together(f"promote{number}")
        try:
            registry.promote("intent", me + 2, by=f"promoter {me}", reason="the race", expected=1)
            lost = None
        except InputError as error:
            lost = error.message
        together(f"again{number}")
        mine = [asdict(registry.promote("intent", 1 + (me + turn) % 3, by=f"promoter {me}")) for turn in range(each)]
        told[uri] = {"same": same, "lost": lost, "mine": mine}
    (place / f"told-{me}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
