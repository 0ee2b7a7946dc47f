"""Figures for Prometheus. All replicas of a node write into one folder; whichever is asked answers for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from workflows.serve.champions import Keeper

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads this when it is imported: it must be in the environment of the replica's process."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters, histograms and gauges of one replica.

    Args:
        folder: where the replicas of this node put theirs together.
    """

    def __init__(self, folder: Path) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        folder.mkdir(parents=True, exist_ok=True)  # on a node where nobody made it
        self.folder = folder
        own = CollectorRegistry()
        name = "deepprompt_"
        self.requests = Counter(name + "requests", "Requests by path and status.", ["path", "status"], registry=own)
        self.seconds = Histogram(
            name + "request_seconds", "Time to answer a request.", ["path"], buckets=SECONDS, registry=own
        )
        self.rows = Counter(name + "rows", "Rows answered.", ["task", "alias"], registry=own)
        self.batch_rows = Histogram(name + "batch_rows", "Rows of a batch.", buckets=COUNTS, registry=own)
        self.batch_tasks = Histogram(name + "batch_tasks", "Tasks of a batch.", buckets=COUNTS, registry=own)
        self.batch_seconds = Histogram(
            name + "batch_seconds", "Time that the model takes for a batch.", buckets=SECONDS, registry=own
        )
        self.swaps = Counter(name + "swaps", "Times that champions were exchanged.", registry=own)
        self.waiting = Gauge(
            name + "queue_rows", "Rows that wait or are computed.", registry=own, multiprocess_mode="livesum"
        )
        self.version = Gauge(
            name + "version",
            "The version that answers, of all replicas the oldest; 0 where none does any more.",
            ["task", "alias"],
            registry=own,
            multiprocess_mode="livemin",
        )
        self.served = Gauge(name + "served", "Prompts that answer.", registry=own, multiprocess_mode="livemin")
        self.refused = Gauge(
            name + "refused", "Versions that cannot be served.", registry=own, multiprocess_mode="livemax"
        )
        self.registry_up = Gauge(
            name + "registry_up", "1 while the registry answers.", registry=own, multiprocess_mode="livemin"
        )
        self._shown: set[tuple[str, str]] = set()

    def champions(self, keeper: Keeper, *, up: bool) -> None:
        """Takes in what answers now."""
        current = keeper.current
        self.registry_up.set(float(up))
        self.served.set(len(current.served))
        self.refused.set(len(current.refused))
        now = {(served.task, served.alias): served.version for served in current.served.values()}
        for task, alias in self._shown | now.keys():
            self.version.labels(task, alias).set(now.get((task, alias), 0))
        self._shown |= now.keys()

    def text(self) -> bytes:
        """What Prometheus reads, of all replicas of this node."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        for file in self.folder.glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if not psutil.pid_exists(pid):
                multiprocess.mark_process_dead(pid, str(self.folder))  # type: ignore[no-untyped-call]
        everyone = CollectorRegistry()
        multiprocess.MultiProcessCollector(everyone, str(self.folder))  # type: ignore[no-untyped-call]
        return bytes(generate_latest(everyone))
