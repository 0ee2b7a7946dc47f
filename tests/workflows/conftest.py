"""What tests of plans share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.two_tasks import write_two_tasks


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch) -> Path:
    """The config of two small tasks, in the current directory."""
    monkeypatch.chdir(tmp_path)
    return write_two_tasks(tmp_path)
