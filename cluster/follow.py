"""The log of a job, line by line, each line once, however often the connection breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from cluster.launcher import WorkFailed

OnLine = Callable[[str], None]
GIVE_UP = 120.0  # seconds without any answer from the cluster
PAUSE = 1.0


class LineFeed:
    """Turns chunks of a log into lines. A log that is read again from its start gives only what is new."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._given = 0  # characters of the log taken so far, over all readings
        self._position = 0  # characters of the present reading
        self._rest = ""

    def restart(self) -> None:
        """The next chunk is the log's beginning again."""
        self._position = 0

    def feed(self, chunk: str) -> None:
        new = chunk[max(0, self._given - self._position) :]
        self._position += len(chunk)
        self._given = max(self._given, self._position)
        *lines, self._rest = (self._rest + new).split("\n")
        for line in lines:
            self._on_line(line)

    def finish(self) -> None:
        """Gives out a last line that has no end."""
        if self._rest:
            self._on_line(self._rest)
            self._rest = ""


def follow_job(client: Any, submission_id: str, on_line: OnLine) -> Any:
    """Hands the job's log to `on_line` until the job has ended; returns Ray's `JobDetails` of it.

    Raises:
        WorkFailed: the cluster gave no answer for two minutes. The job may still run.
    """
    feed = LineFeed(on_line)
    last_answer = time.monotonic()
    while True:
        feed.restart()
        try:
            asyncio.run(_tail(client, submission_id, feed))
        except (TimeoutError, RuntimeError, OSError):
            pass  # a socket closed early; the status below says whether that matters
        except Exception as error:
            if not type(error).__module__.startswith("aiohttp"):
                raise
        try:
            details = client.get_job_info(submission_id)
            last_answer = time.monotonic()
            if details.status.is_terminal():
                feed.restart()
                feed.feed(client.get_job_logs(submission_id))  # what the socket did not bring
                feed.finish()
                return details
        except (RuntimeError, OSError) as error:
            if time.monotonic() - last_answer > GIVE_UP:
                raise WorkFailed(
                    "ConnectionLost",
                    f"no answer from the cluster about job {submission_id}, which may still run; "
                    "the same command follows it again",
                ) from error
        time.sleep(PAUSE)


async def _tail(client: Any, submission_id: str, feed: LineFeed) -> None:
    async for chunk in client.tail_job_logs(submission_id):
        feed.feed(chunk)
