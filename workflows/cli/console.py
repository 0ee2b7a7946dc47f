"""What the user sees and what goes to the log file.

Transformers, datasets, DeepSpeed, Ray, MLflow and the compilers they start write to stdout and stderr in a dozen ways.
While they work, both streams of the process lead into a log file; deepprompt itself keeps the real ones.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline.errors import InputError

# Bars of other programs are of no use in a log file; the rest of what they say is.
_SWITCHES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class LoggedError(Exception):
    """Something failed that is no mistake of the user's. The traceback is in the log file.

    Args:
        message: the error in one line. log_file: where the rest is.
    """

    def __init__(self, message: str, log_file: Path) -> None:
        super().__init__(message)
        self.log_file = log_file


@dataclass(frozen=True)
class Streams:
    """The user's own stdout and stderr, while the process's lead into the log file."""

    out: TextIO
    err: TextIO


def default_log_file() -> Path:
    """The log of commands that have no run folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepprompt"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"deepprompt-{os.getuid()}.log"
    return cache / "deepprompt.log"


@contextmanager
def silence_libraries(log_file: Path) -> Iterator[Streams]:
    """Leads everything that libraries and child processes print into `log_file`.

    Yields:
        The streams that still reach the user.

    Raises:
        LoggedError: for any exception inside that is neither the user's mistake nor an interruption.
        InputError: the log file cannot be written.
    """
    with _opened(log_file) as log:
        for switch, value in _SWITCHES.items():
            os.environ.setdefault(switch, value)
        print(f"\n=== {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}", file=log)
        try:
            with _led_into(log) as streams:
                yield streams
        except (InputError, LoggedError):
            raise
        except Exception as error:
            traceback.print_exc(file=log)
            print(getattr(error, "trace", ""), file=log)  # where it happened in another process
            raise LoggedError(f"{type(error).__name__}: {error}", log_file) from error


def log_traceback(error: BaseException, log_file: Path) -> None:
    """Adds an error that nothing else has logged to a log; a log that cannot be written must not hide the error."""
    with suppress(OSError), log_file.open("a", encoding="utf-8") as log:
        traceback.print_exception(error, file=log)


@contextmanager
def _opened(log_file: Path) -> Iterator[TextIO]:
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log = log_file.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        raise InputError(f"the log file cannot be written: {error.strerror}", where=str(log_file)) from error
    with log:
        yield log


@contextmanager
def _led_into(log: TextIO) -> Iterator[Streams]:
    """Both streams of the process, as file descriptors (child processes, compiled code) and as objects (Python)."""
    before = sys.stdout, sys.stderr
    for stream in before:
        stream.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    streams = Streams(_reaching_user(sys.stdout, kept), _reaching_user(sys.stderr, kept))
    for number in kept:
        os.dup2(log.fileno(), number)
    sys.stdout = sys.stderr = log
    try:
        yield streams
    finally:
        for stream in (streams.out, streams.err, log):
            with suppress(BrokenPipeError):
                stream.flush()
        sys.stdout, sys.stderr = before
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


def _reaching_user(stream: TextIO, kept: dict[int, int]) -> TextIO:
    """The same stream by another file descriptor; a stream that is none of the process's own is left as it is."""
    try:
        number = stream.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return stream
    if number not in kept:
        return stream
    return os.fdopen(kept[number], "w", encoding=stream.encoding, errors="replace", buffering=1, closefd=False)
