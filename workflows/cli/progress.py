"""Progress of every stage on stderr: bars with time left on a terminal, sparse lines elsewhere.

Events are mappings with `stage`, `task`, `done`, `total` and `note`, from whichever process does the work. One without
`total` is a remark, such as why a stage is skipped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from workflows.cli.console import silence_libraries
from workflows.words import span

Event = Mapping[str, Any]
Listener = Callable[[Event], None]
SPARSE_SECONDS = 10.0


@contextmanager
def at_work(log_file: Path) -> Iterator[Listener]:
    """What every long command does: the libraries talk into a file, which is named, and progress shows."""
    with silence_libraries(log_file) as streams:
        print(f"what the libraries say goes to {log_file}", file=streams.err)
        with show_progress(streams.err) as listener:
            yield listener


@contextmanager
def show_progress(stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Listener]:
    """A listener for events that shows them on `stream`; it may be called from any thread and never raises."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield Lines(stream, clock)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=console) as bars:
        yield Bars(bars)


def label(event: Event) -> str:
    """What an event is about: its stage, with the task where there is one."""
    stage, task = str(event.get("stage", "")), event.get("task")
    return stage if not task or stage.endswith(f"/{task}") else f"{stage}/{task}"


class Bars:
    """A bar for each stage that is at work. A finished one leaves a line above the bars."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._ids: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        name, note = label(event), str(event.get("note") or "")
        with self._lock:
            if event.get("total") is None:
                self._bars.console.print(_joined(name, note), markup=False)
                return
            done, total = event.get("done", 0), event["total"]
            if name not in self._ids:
                self._ids[name] = self._bars.add_task(name, total=total, note=note, completed=done)
            self._bars.update(self._ids[name], completed=done, total=total, note=note)
            if done >= total:
                elapsed = self._bars.tasks[self._bars.task_ids.index(self._ids[name])].elapsed or 0.0
                self._bars.remove_task(self._ids.pop(name))
                self._bars.console.print(_joined(name, f"{done}/{total}", f"in {span(elapsed)}", note), markup=False)


@dataclass
class _Row:
    began: float
    first: float
    shown: float = field(default=float("-inf"))


class Lines:
    """A line when a stage begins, at most one each ten seconds, and one when it ends."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        name, note = label(event), str(event.get("note") or "")
        with self._lock:
            if event.get("total") is None:
                self._print(_joined(name, note))
                return
            now, done, total = self._clock(), float(event.get("done", 0)), float(event["total"])
            row = self._rows.setdefault(name, _Row(now, done))
            if done >= total:
                self._print(_joined(name, f"{done:g}/{total:g}", f"in {span(now - row.began)}", note))
                del self._rows[name]
            elif now - row.shown >= SPARSE_SECONDS:
                row.shown = now
                left = ""
                if done > row.first:
                    left = f"{span((now - row.began) / (done - row.first) * (total - done))} left"
                self._print(_joined(name, f"{done:g}/{total:g}", left, note))

    def _print(self, line: str) -> None:
        try:
            print(line, file=self._stream, flush=True)
        except (OSError, ValueError):
            return  # nobody listens any more; the work goes on


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)
