"""What `make_launcher` starts it also stops; what it needs from the machine it reads right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster import make_launcher
from cluster.on_ray.auth import find_token
from cluster.on_ray.room import fitting
from cluster.shares import Share, cores, share
from pipeline.errors import InputError

ROOT = Path(__file__).resolve().parents[3]

DRIVER = """
import os, sys, time
from pathlib import Path
import psutil
from cluster import make_launcher
try:
    with make_launcher("ray", log_file=Path(sys.argv[1])):
        processes = psutil.Process().children(recursive=True)
        ports = [c.laddr.ip for p in processes for c in p.net_connections("inet") if c.status == "LISTEN"]
        token = os.environ.get("RAY_AUTH_MODE"), (Path.home() / ".ray").exists()
        print(*token, sorted(set(ip.removeprefix("::ffff:") for ip in ports)), sep="|")
        print(*[p.pid for p in processes if p.name() in ("raylet", "gcs_server")], flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_importing_the_launcher_costs_no_ray() -> None:
    modules = "cluster, cluster.launcher, cluster.jobs.submit"
    code = f"import sys, {modules}; print(sorted({{'ray', 'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_private_cluster_is_silent_local_and_ends_with_its_driver(tmp_path: Path, stop: signal.Signals) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "log.txt")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and driver.stderr is not None
        facts = driver.stdout.readline().strip()
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        driver.send_signal(stop)
        said, complained = driver.communicate(timeout=60)
    assert facts == "token|False|['127.0.0.1']"
    assert (said, complained) == ("", "")
    assert len(pids) == 2
    assert driver.returncode == (130 if stop == signal.SIGTERM else -signal.SIGKILL)
    assert _all_gone(pids)
    assert "logs of Ray" in (tmp_path / "log.txt").read_text()


def _all_gone(pids: list[int]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_a_launcher_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'ray'"), make_launcher("rays", log_file=tmp_path / "log"):
        pass


def test_a_launcher_leaves_a_cluster_it_found(ray_cluster: None, tmp_path: Path) -> None:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    with make_launcher("ray", log_file=tmp_path / "log"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([{"CPU": 2.0}], 2, Share(1, 0)),
        ([{"CPU": 8.0}], 3, Share(2, 0)),
        ([{"CPU": 1.0}], 2, Share(0.5, 0)),
        ([{"CPU": 3.0}, {"CPU": 3.0}], 3, Share(1, 0)),  # 2 each would leave the third without a place
        ([{"CPU": 16.0, "GPU": 4.0}], 2, Share(8, 1)),  # never two GPUs for one worker
        ([{"CPU": 16.0, "GPU": 2.0}], 3, Share(5, 0.5)),
        ([{}, {"CPU": 0.0}], 4, Share(1, 0)),  # a cluster that has yet to grow
    ],
)
def test_shares_fit_together(nodes: list[dict[str, float]], workers: int, expected: Share) -> None:
    assert share(nodes, workers) == expected


def test_nodes_that_left_are_missed() -> None:
    node = {"CPU": 2.0, "GPU": 1.0}
    assert fitting([node, node], Share(1, 0)) == 4
    assert fitting([node], Share(1, 0.5)) == 2
    assert fitting([node, {"CPU": 1.0}], Share(1, 1)) == 1
    assert fitting([node], Share(0.4, 0)) == 5
    assert fitting([], Share(1, 0)) == 0


def test_cores_are_those_we_may_use() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_a_token_is_found_in_rays_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token({}) is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from-home\n")
    other = tmp_path / "other"
    other.write_text("from-path")
    assert find_token({}) == "from-home"
    env = {"RAY_AUTH_TOKEN_PATH": str(other)}
    assert find_token(env) == "from-path"
    env["RAY_AUTH_TOKEN"] = "from-env"
    assert find_token(env) == "from-env"
    assert find_token(env, "given") == "given"
    with pytest.raises(InputError, match="RAY_AUTH_TOKEN_PATH"):
        find_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})
