"""What tests of every room share: one Ray cluster for the whole session, and the datasets beside the checkout.

`tests/run.sh` runs them in two processes. A file stays in one of them, and so do all files that share what takes long
to start: Ray, an MLflow server.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes with a thread for each of two cores only wait
# Before anything imports Ray: no token file in the home of whoever runs the tests, and loopback only.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """What runs in one process, one after the other."""
    file = item.path.relative_to(ROOT / "tests")
    if file.parts[0] == "cluster" or "ray_cluster" in getattr(item, "fixturenames", ()):
        return "ray"
    return "registry" if file.parts[0] == "registry" else file.with_suffix("").as_posix()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray with four cores, whatever the machine has. A launcher made while it lives uses it and leaves it running."""
    import ray

    rooms = [str(path) for path in (ROOT / "tests").iterdir() if path.is_dir()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *rooms]))  # workers import what the tests do
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=128 << 20,
        )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real task folders; tests that need it are skipped where it is not."""
    folder = SHARED / "datasets"
    if not folder.is_dir():
        pytest.skip(f"no datasets at {folder}")
    return folder
