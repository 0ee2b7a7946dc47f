"""Nodes leave a cluster while a run is on them; the run ends as if they had not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.workflows.small import fingerprints, small_config

ROOT = Path(__file__).resolve().parents[3]


def config_for_two(folder: Path) -> Path:
    """Two ranks pretrain, two workers adapt; a checkpoint at every other step."""
    changes = {
        "launcher: inline": "launcher: ray",
        "steps: 6, batch_rows: 8, checkpoint_every: 2": "steps: 10, batch_rows: 8, checkpoint_every: 2, workers: 2",
        "  - {name: slots, type: token, data: {demo: slots, rows: 24}}\n": "",
        "tasks: [intent, slots]": "tasks: [intent]",
        "adapt: {lengths: [2, 4]": "adapt: {workers: 2, first_layers: [0], lengths: [2, 4]",
        "steps: 4, batch_rows: 6, evaluate_every: 2": "steps: 8, batch_rows: 6, evaluate_every: 2",
        "ensemble: {size: 2}": "ensemble: null",
    }
    folder.mkdir()
    return small_config(folder, **changes)


def test_a_node_killed_in_pretraining_and_in_adaptation_changes_nothing(tmp_path: Path) -> None:
    peaceful, disturbed = config_for_two(tmp_path / "peaceful"), config_for_two(tmp_path / "disturbed")
    program = [sys.executable, str(Path(__file__).with_name("leaving_nodes.py")), str(peaceful), str(disturbed)]
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    # A dead node refuses its checks: Ray counts five, by default one in 3 s. A slow one has 10 s to answer each.
    env["RAY_health_check_period_ms"] = "300"
    done = subprocess.run(program, env=env, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert [one["stage"] for one in told["killed"]] == ["pretrain", "adapt"]
    assert all(one["busy"] for one in told["killed"])
    assert told["exit_code"] == 0
    assert any("a worker died" in note for note in told["notes"])
    expected = fingerprints(tmp_path / "peaceful" / "small")
    assert expected and fingerprints(tmp_path / "disturbed" / "small") == expected
