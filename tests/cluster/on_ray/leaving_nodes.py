"""A program: a run on a Ray cluster of three nodes on this machine, once in peace and once while nodes leave.

    python leaving_nodes.py PEACEFUL.yaml DISTURBED.yaml

The node of a worker is killed in pretraining and again in adaptation, and another joins each time. The workers wait
for it: these few steps would be done before anyone could have heard of the first. Prints, as JSON, what was killed and
when. A program of its own: a cluster whose nodes die cannot be the one that all tests share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray._private.state
import ray._private.utils
from ray.cluster_utils import Cluster

from cluster.launcher import Event, OnEvent
from cluster.on_ray import launcher
from cluster.on_ray.events import Sink, listening
from workflows.config.load import load_config
from workflows.run import run

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


class WaitingSink(Sink):
    """A worker's end of a channel, at which it stands still from a stage's moment on until that stage lost its node."""

    def __init__(self, board: Any, channel: str, moments: Mapping[str, int], taken: Path) -> None:
        super().__init__(board, channel)
        self.moments, self.taken = moments, taken

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        stage = event.get("stage")
        if stage in self.moments and event.get("done", 0) >= self.moments[stage]:
            while not (self.taken / stage).exists():
                time.sleep(0.05)

    def __reduce__(self) -> tuple[object, ...]:
        return (WaitingSink, (self._board, self._channel, self.moments, self.taken))


class Killer:
    """Listens to a run's events and takes a busy node away, once in each of the stages; `taken` has a file for each."""

    def __init__(self, nodes: Cluster, moments: Mapping[str, int], taken: Path) -> None:
        self.nodes, self.moments, self.taken = nodes, dict(moments), taken
        self.thread = ThreadPoolExecutor(1)
        self.killed: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        stage, done = str(event.get("stage")), event.get("done")
        if event.get("total") is None:
            self.notes.append(str(event.get("note")))
        if stage not in self.moments or done is None or done < self.moments[stage] or done >= event["total"]:
            return
        del self.moments[stage]
        # Linux ends a process with the thread that started it, and the thread of the events ends with each stage.
        self.killed.append({"stage": stage, "done": done, "busy": self.thread.submit(self._replace_one).result()})
        (self.taken / stage).touch()

    def _replace_one(self) -> int:
        free = ray._private.state.available_resources_per_node()
        busy = [node for node in self.nodes.worker_nodes if free.get(node.node_id, {}).get("CPU", 0) < 1]
        self.nodes.remove_node(busy[0], allow_graceful=False)
        self.nodes.add_node(**NODE)
        return len(busy)


def main(peaceful: Path, disturbed: Path) -> None:
    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False})
    ray._private.utils.set_sigterm_handler = lambda handler: None  # only the main thread may, and it runs the run
    try:
        for _ in range(2):
            nodes.add_node(**NODE)
        run(load_config(peaceful), address=nodes.address)
        moments, taken = {"pretrain": 5, "adapt": 3}, disturbed.parent

        @contextmanager
        def waiting(board: Any, channel: str, on_event: OnEvent) -> Iterator[Sink]:
            with listening(board, channel, on_event):
                yield WaitingSink(board, channel, moments, taken)

        launcher.listening = waiting
        killer = Killer(nodes, moments, taken)
        summary = run(load_config(disturbed), address=nodes.address, on_event=killer)
        print(json.dumps({"killed": killer.killed, "notes": killer.notes, "exit_code": summary.exit_code}))
    finally:
        nodes.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
