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
REMIND = 60.0  # seconds between two words about a job that waits


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


def follow_job(
    client: Any, submission_id: str, on_line: OnLine, on_note: Callable[[str], None] = lambda line: None
) -> Any:
    """Hands the job's log to `on_line` until the job has ended; returns Ray's `JobDetails` of it.

    Args:
        on_note: hears why a job waits, and what of its log is lost.

    Raises:
        WorkFailed: the cluster gave no answer for two minutes (the job may still run), or does not know the job.
    """
    feed = LineFeed(on_line)
    waiting = _Waiting(submission_id, on_note)
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
        except (RuntimeError, OSError) as error:
            if "404" in str(error):
                raise _forgotten(submission_id) from error
            if time.monotonic() - last_answer > GIVE_UP:
                raise _silent(submission_id) from error
        else:
            last_answer = time.monotonic()
            if details.status.is_terminal():
                _read_rest(client, submission_id, feed, on_note)
                return details
            waiting.hear(details)
        time.sleep(PAUSE)


async def _tail(client: Any, submission_id: str, feed: LineFeed) -> None:
    async for chunk in client.tail_job_logs(submission_id):
        feed.feed(chunk)


def _read_rest(client: Any, submission_id: str, feed: LineFeed, on_note: Callable[[str], None]) -> None:
    """What the socket did not bring. The log lies on the job's node and may have gone with it."""
    feed.restart()
    try:
        feed.feed(client.get_job_logs(submission_id))
    except (RuntimeError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        on_note(f"the end of the log is lost ({reason}); MLflow has the run's own log")
    feed.finish()


class _Waiting:
    """Tells why a job has not begun: at once, when the reason changes, and now and then."""

    def __init__(self, submission_id: str, on_note: Callable[[str], None]) -> None:
        self._id, self._on_note = submission_id, on_note
        self._began = self._told = float("-inf")
        self._last = ""

    def hear(self, details: Any) -> None:
        if str(details.status.value) != "PENDING":
            return
        now, reason = time.monotonic(), str(getattr(details, "message", None) or "the cluster has not begun it")
        self._began = now if self._began == float("-inf") else self._began
        if reason != self._last or now - self._told >= REMIND:
            self._last, self._told = reason, now
            self._on_note(f"job {self._id} waits for {now - self._began:.0f} s: {reason}")


def _forgotten(submission_id: str) -> WorkFailed:
    return WorkFailed(
        "JobForgotten",
        f"the cluster does not know job {submission_id} any more: its head was restarted; "
        "the same command sends the run again, and it continues from its last checkpoint",
    )


def _silent(submission_id: str) -> WorkFailed:
    return WorkFailed(
        "ConnectionLost",
        f"no answer from the cluster about job {submission_id}, which may still run; the same command follows it again",
    )
