"""The right to retrain one config, held by one process at a time wherever it runs, and given up by whoever dies.

It lies in the shared storage, so it needs no server. Each holder makes the next number's file, which only one process
can make; it is alive as long as its file's time is fresh, told by the file system's own clock, because the clocks of
two nodes may differ. Nobody ever writes or takes away the file of a holder that may be alive: whoever comes back from
a long sleep finds a higher number and knows that it has lost.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

Say = Callable[[str], None]


class LeaseLost(RuntimeError):
    """Another process has taken the lease: this one was silent for too long, or was asked to stop."""


class Superseded(Exception):
    """Another process, which holds the lease or waits for it, has a later date and does this one's work too."""


@dataclass(frozen=True)
class Holder:
    """Who has or had a lease. `silent`: seconds since its last sign of life."""

    number: int
    about: dict[str, Any]
    released: bool
    silent: float

    @property
    def told(self) -> str:
        who = f"process {self.about.get('pid', '?')} on {self.about.get('host', 'an unknown machine')}"
        return f"{who}, for {self.about.get('as_of', 'an unknown date')}, last sign of life {self.silent:.0f} s ago"


class Lease:
    """The lease of one config.

    Args:
        folder: in the shared storage. seconds: after so long without a sign of life a holder is dead.
        as_of: the date that is retrained for.
    """

    def __init__(self, folder: Path, seconds: float, as_of: str) -> None:
        self.folder, self.seconds, self.as_of = folder, seconds, as_of
        self.number = 0  # none is held
        self._stop = threading.Event()

    def check(self) -> None:
        """Raises LeaseLost unless this process still holds the lease: to be asked before anything that others see."""
        holder = self.holder()
        if holder is None or holder.number != self.number or holder.released:
            raise LeaseLost("another retraining has taken over" + (f": {holder.told}" if holder else ""))

    def holder(self) -> Holder | None:
        """Who has the highest number."""
        numbers = self._numbers()
        if not numbers:
            return None
        number = max(numbers)
        file = self._file(number)
        try:
            silent = self._now() - file.stat().st_mtime
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return self.holder()  # swept away by a newer one between the two looks
        try:
            about = json.loads(text)
        except ValueError:
            about = {}  # its maker has not written it yet
        released = self.folder.joinpath(f"{number}.released").exists()
        return Holder(number, about if isinstance(about, dict) else {}, released, max(0.0, silent))

    def free(self, holder: Holder | None) -> bool:
        """Whether the next may take it."""
        return holder is None or holder.released or holder.silent > self.seconds

    @contextmanager
    def held(self, overlap: str, say: Say) -> Iterator[Lease]:
        """Holds the lease, with a heartbeat, for as long as the block runs.

        Args:
            overlap: "forbid", "queue" or "replace". say: hears why it takes long.

        Raises:
            InputError: somebody else holds it and `overlap` forbids it, or the folder cannot be written.
            Superseded: one with a later date holds it or waits for it too.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take(overlap, say)
        except OSError as error:
            raise InputError(f"the lease cannot be written ({error.strerror})", where=str(self.folder)) from error
        beat = threading.Thread(target=self._beat, args=(say,), name="lease", daemon=True)
        beat.start()
        try:
            yield self
        finally:
            self._stop.set()
            beat.join()
            self._release()

    def _take(self, overlap: str, say: Say) -> None:
        told = False
        with self._waiting(overlap) as waiting:
            while True:
                holder = self.holder()
                if self.free(holder):
                    waiting.step_aside()
                    if self._make((holder.number if holder is not None else 0) + 1):
                        return
                    continue
                assert holder is not None
                if overlap == "forbid":
                    raise InputError(
                        "a retraining of this config is going on already",
                        where=str(self.folder),
                        found=holder.told,
                        hint="wait for it, or give --overlap queue or replace",
                    )
                if overlap == "queue" and str(holder.about.get("as_of", "")) > self.as_of:
                    raise Superseded(holder.about["as_of"])
                if overlap == "replace":
                    self.folder.joinpath(f"{holder.number}.stop").touch()
                if not told:
                    say(f"{'stopping' if overlap == 'replace' else 'waiting for'} {holder.told}")
                    told = True
                waiting.beat()
                time.sleep(self._pause)

    @property
    def _pause(self) -> float:
        return min(5.0, self.seconds / 6)

    def _make(self, number: int) -> bool:
        """Takes a number if nobody has it, nor a higher one."""
        about = {"host": socket.gethostname(), "pid": os.getpid(), "as_of": self.as_of, "id": uuid.uuid4().hex}
        try:
            handle = os.open(self._file(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(about, file)
        if max(self._numbers()) != number:  # whoever looked long ago may make a number that was swept away since
            self._file(number).unlink(missing_ok=True)
            return False
        self.number = number
        for old in self._numbers():
            if old < number - 1:  # the one before stays, for whoever is just looking at it
                for end in ("lease", "released", "stop"):
                    self.folder.joinpath(f"{old}.{end}").unlink(missing_ok=True)
        return True

    def _beat(self, say: Say) -> None:
        file, stop = self._file(self.number), self.folder / f"{self.number}.stop"
        while not self._stop.wait(self._pause):
            with suppress(OSError):  # a storage that is away for a moment; silence for too long costs the lease
                lost = max(self._numbers(), default=0) != self.number
                if stop.exists() or lost:
                    say("another retraining takes over; this one stops")
                    # The main thread unwinds as for Ctrl-C: checkpoints are kept, workers end, the lease is released.
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                os.utime(file)

    def _release(self) -> None:
        with suppress(OSError):
            self.folder.joinpath(f"{self.number}.released").touch()
        self.number = 0

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.lease"

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self.folder.glob("*.lease") if path.stem.isdigit()]

    def _now(self) -> float:
        """The present by the clock of whoever keeps the files."""
        probe = self.folder / f".now.{os.getpid()}.{threading.get_ident()}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    @contextmanager
    def _waiting(self, overlap: str) -> Iterator[_Waiting]:
        waiting = _Waiting(self)
        if overlap != "forbid":
            waiting.beat()
        try:
            yield waiting
        finally:
            waiting.file.unlink(missing_ok=True)


class _Waiting:
    """One process in the queue: of several, the one with the latest date goes, once, for all of them."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.file = lease.folder / f"{uuid.uuid4().hex}.waiting"

    def beat(self) -> None:
        self.file.write_text(self.lease.as_of, encoding="utf-8")

    def step_aside(self) -> None:
        """Raises Superseded if one with a later date waits too."""
        now = self.lease._now()
        for other in self.lease.folder.glob("*.waiting"):
            with suppress(OSError):
                date = other.read_text(encoding="utf-8")
                if date > self.lease.as_of and now - other.stat().st_mtime <= self.lease.seconds:
                    raise Superseded(date)
