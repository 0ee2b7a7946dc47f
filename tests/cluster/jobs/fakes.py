"""A Ray job client without Ray: jobs in a dictionary, a log whose socket breaks where it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

LOG = "".join(f"line {n}\n" for n in range(50)) + "the end"


class FakeStatus(str):
    @property
    def value(self) -> str:
        return str(self)

    def is_terminal(self) -> bool:
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


def details(status: str, code: int | None = None, **facts: Any) -> Any:
    usual = {"submission_id": "job", "metadata": None, "message": None, "start_time": None, "end_time": None}
    return SimpleNamespace(status=FakeStatus(status), driver_exit_code=code, **(usual | facts))


class FakeClient:
    """Jobs in a dictionary; a log whose socket breaks at the given places."""

    def __init__(self, jobs: dict[str, Any] | None = None, breaks: tuple[int, ...] = ()) -> None:
        self.jobs = jobs or {}
        self.breaks = list(breaks)
        self.sent: list[str] = []

    def get_job_info(self, submission_id: str) -> Any:
        if submission_id not in self.jobs:
            raise RuntimeError("Request failed with status code 404: not found.")
        if not self.breaks and self.jobs[submission_id].status == "RUNNING":
            self.jobs[submission_id] = details("SUCCEEDED", 0)
        return self.jobs[submission_id]

    def submit_job(self, *, submission_id: str, **job: Any) -> str:
        if submission_id in self.jobs:
            raise RuntimeError("Request failed with status code 500: Job already exists.")
        self.jobs[submission_id] = details("RUNNING")
        self.sent.append(submission_id)
        return submission_id

    async def tail_job_logs(self, submission_id: str) -> AsyncIterator[str]:
        end = self.breaks.pop(0) if self.breaks else len(LOG)
        for start in range(0, end, 30):
            yield LOG[start : min(start + 30, end)]
        if end < len(LOG):
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_logs(self, submission_id: str) -> str:
        return LOG

    def list_jobs(self) -> list[Any]:
        for name, job in self.jobs.items():
            job.submission_id = name
        return list(self.jobs.values())
