"""How long after `registry promote` the new champion answers, under load, and whether any request fails.

`python -m tests.benchmarks.promote` prints one JSON object; `--out FILE` writes it too. Nothing is asserted. MiniLM, 16
champions, 16 callers without pause on the same machine, the server's usual look at the registry every two seconds. Five
promotions by the command `deepprompt registry promote`, whose own start is told apart: from its end to
the first answer by the new champion, and to the last answer by the old one. About two minutes.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pipeline.backbone import resolve_dtype
from pipeline.registry import PromptRegistry
from tests.benchmarks.served import Reply, ask, champions, free_port, register, told
from workflows.serve.settings import Settings
from workflows.serve.start import serving

TASKS, CALLERS, PROMOTIONS, SETTLE = 16, 16, 5, 6.0


def promote(registry: PromptRegistry, task: str, version: int) -> tuple[float, float]:
    """Runs the command; when it began and when it ended."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "workflows.cli", "registry", "promote", f"{task}@v{version}"]
    subprocess.run([*command, "--registry", registry.uri], check=True, capture_output=True, timeout=60)
    return began, time.perf_counter()


def measure(registry: PromptRegistry, versions: list[int], folder: Path) -> dict[str, Any]:
    """Promotes `task-0` again and again while everybody asks."""
    settings, done, replies = Settings(registry.uri, registry.prefix), threading.Event(), []
    with serving(settings, port=free_port(), log_file=folder / "ray.log") as running:
        names = [f"task-{n}" for n in range(TASKS)]

        def load(tasks: list[str], callers: int) -> None:
            replies.append(asyncio.run(ask(running.url, tasks, callers, done.is_set)))

        # one of the callers asks the promoted task alone, so that its first answer is seen at once
        threads = [threading.Thread(target=load, args=some) for some in ((names[:1], 1), (names[1:], CALLERS - 1))]
        for thread in threads:
            thread.start()
        time.sleep(SETTLE)
        moments = []
        for version in versions:
            moments.append(promote(registry, "task-0", version))
            time.sleep(SETTLE)
        done.set()
        for thread in threads:
            thread.join()
    watched: list[Reply] = next(some for some in replies if any(reply.version == versions[-1] for reply in some))
    everyone = [reply for some in replies for reply in some]
    firsts, lasts = [], []
    for version, (_, ended) in zip(versions, moments, strict=True):
        firsts.append(min(reply.at for reply in watched if reply.version == version) - ended)
        lasts.append(max(reply.at for reply in watched if reply.version < version) - ended)
    return {
        "first_answer_after_command_s": [round(one, 2) for one in firsts],
        "median_s": round(statistics.median(firsts), 2),
        "last_answer_of_the_old_after_command_s": [round(one, 2) for one in lasts],
        "command_itself_s": round(statistics.median(ended - began for began, ended in moments), 2),
        "requests": len(everyone),
        "failed": sum(reply.status != 200 for reply in everyone),
        "poll_s": settings.poll,
    }


def promotions(folder: Path) -> dict[str, Any]:
    """All of it, from registering to the last answer."""
    dtype = resolve_dtype("auto")
    registry, backbone = champions(folder, dtype, TASKS)
    versions = [
        register(registry, backbone, dtype, "task-0", folder / f"new-{n}", seed=100 + n, alias=None)
        for n in range(PROMOTIONS)
    ]
    sizes = {"dtype": dtype, "tasks": TASKS, "callers": CALLERS}
    return {"benchmark": "promote", **sizes, **measure(registry, versions, folder)}


if __name__ == "__main__":
    told(__doc__, promotions)
