"""A program: a run on a Ray cluster of three nodes on this machine, once in peace and once while nodes leave.

    python leaving_nodes.py PEACEFUL.yaml DISTURBED.yaml

The node of a worker is killed in pretraining and again in adaptation, and another joins each time. Prints, as JSON,
what was killed and when. A program of its own: a cluster whose nodes die cannot be the one that all tests share.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray._private.state
import ray._private.utils
from ray.cluster_utils import Cluster

from workflows.config.load import load_config
from workflows.run import run

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


class Killer:
    """Listens to a run's events and takes a busy node away, once in each of the stages."""

    def __init__(self, cluster: Cluster, moments: Mapping[str, int]) -> None:
        self.cluster, self.moments = cluster, dict(moments)
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

    def _replace_one(self) -> int:
        free = ray._private.state.available_resources_per_node()
        busy = [node for node in self.cluster.worker_nodes if free.get(node.node_id, {}).get("CPU", 0) < 1]
        self.cluster.remove_node(busy[0], allow_graceful=False)
        self.cluster.add_node(**NODE)
        return len(busy)


def main(peaceful: Path, disturbed: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False})
    ray._private.utils.set_sigterm_handler = lambda handler: None  # only the main thread may, and it runs the run
    try:
        for _ in range(2):
            cluster.add_node(**NODE)
        run(load_config(peaceful), address=cluster.address)
        killer = Killer(cluster, {"pretrain": 5, "adapt": 3})
        summary = run(load_config(disturbed), address=cluster.address, on_event=killer)
        print(json.dumps({"killed": killer.killed, "notes": killer.notes, "exit_code": summary.exit_code}))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
