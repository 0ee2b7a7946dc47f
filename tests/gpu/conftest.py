"""The tasks and tiny backbones that training's tests use. Nothing in this room runs without a GPU."""

from __future__ import annotations

import pytest
import torch

from tests.training.conftest import backbone, prepared

__all__ = ["backbone", "prepared"]


@pytest.fixture(autouse=True)
def _a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
