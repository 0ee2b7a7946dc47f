"""Worlds in which something happens to the training."""

from __future__ import annotations

from pipeline.training.world import LocalWorld


class Stop(Exception):
    """What interrupts a training."""


class Interrupted(LocalWorld):
    """Raises `Stop` when a number of steps is done."""

    def __init__(self, folder, at):
        super().__init__(folder)
        self.at = at

    def event(self, **fields):
        if fields["done"] == self.at:
            raise Stop
