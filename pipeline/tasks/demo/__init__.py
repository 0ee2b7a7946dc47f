"""The built-in demo suite of a help desk: eleven related tasks from a seeded grammar."""

from __future__ import annotations

from pipeline.tasks.demo.suite import DEMO_TASKS, DemoTask, demo_rows

__all__ = ["DEMO_TASKS", "DemoTask", "demo_rows"]
