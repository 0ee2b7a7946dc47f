"""The trunk cache: a split's activations at a layer, computed once, memory-mapped by whoever trains above that layer.

One file per (backbone, dtype, rows, layer), named by the hash of all four: every candidate, seed, epoch and process of
a node maps the same pages. Rows lie one after the other without padding, [tokens, M] in the backbone's dtype. A file
appears when it is whole; the folder stays below a number of bytes by giving up what was unused the longest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import InputError

FORMAT = 1
_SUFFIX = ".trunk"


@dataclass(frozen=True)
class TrunkRows:
    """The activations of a split's rows at one layer, memory-mapped.

    Args:
        states: [tokens of all rows, M]. starts: [R], where each row's tokens begin. lengths: [R].
    """

    states: Tensor
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def take(self, rows: Sequence[int] | NDArray[np.int64], width: int) -> Tensor:
        """Rows padded to `width` tokens, [rows, width, M]; padding repeats a row's last token, so it is finite."""
        chosen = np.asarray(rows, dtype=np.int64)
        column = np.minimum(np.arange(width), self.lengths[chosen, None] - 1)  # [rows, width]
        place = torch.from_numpy(self.starts[chosen, None] + column)
        return self.states[place.view(-1)].view(*place.shape, -1)


class TrunkFolder:
    """A bounded folder of trunk files, shared by the processes of a node.

    Args:
        folder: made when the first file is written. max_bytes: of all files together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def path(self, backbone: str, dtype: str, rows: str, layer: int) -> Path:
        """Where the activations of rows (their hash) at a layer are, or would be."""
        key = hashlib.sha256(f"{FORMAT}:{backbone}:{dtype}:{rows}:{layer}".encode()).hexdigest()
        return self.folder / f"{key[:32]}{_SUFFIX}"

    def open(self, path: Path, lengths: NDArray[np.int64], width: int, dtype: torch.dtype) -> TrunkRows | None:
        """Maps a file, and marks it as used; None where it is not, or not of the right size."""
        tokens = int(lengths.sum())
        try:
            if path.stat().st_size != tokens * width * dtype.itemsize:
                return None
            os.utime(path)
            flat = torch.from_file(str(path), shared=False, size=tokens * width, dtype=dtype)
        except (OSError, RuntimeError):  # another process has given it up between two looks
            return None
        return TrunkRows(flat.view(tokens, width), np.cumsum(lengths) - lengths, lengths)

    def build(
        self, paths: Sequence[Path], size: int, compute: Callable[[], Iterable[tuple[Sequence[Tensor], int]]]
    ) -> bool:
        """Writes several files of `size` bytes each in one pass, unless they are there or would not fit.

        Args:
            compute: yields, for a piece of rows at a time, one [tokens, M] per path, and the piece's first token.

        Returns:
            Whether the files are there now; False when they exceed the folder's bound.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                missing = [path for path in paths if not path.exists() or path.stat().st_size != size]
                if missing and not self._make_room(size * len(missing), keep=set(paths)):
                    return False
                if missing:
                    self._write(paths, missing, size, compute)
        except OSError as error:
            what = f"the trunk cache cannot be written ({error.strerror or error})"
            hint = "trunk: null runs without, trunk.folder names another place"
            raise InputError(what, where=str(self.folder), hint=hint) from error
        return True

    def _write(
        self,
        paths: Sequence[Path],
        missing: Sequence[Path],
        size: int,
        compute: Callable[[], Iterable[tuple[Sequence[Tensor], int]]],
    ) -> None:
        parts = {path: path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part") for path in missing}
        try:
            files = {path: part.open("wb") for path, part in parts.items()}
            try:
                for file in files.values():
                    os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now, not in the middle
                for pieces, first in compute():
                    for path, piece in zip(paths, pieces, strict=True):
                        if path in files:
                            plain = piece.contiguous().cpu()
                            files[path].seek(first * plain.shape[1] * plain.element_size())
                            files[path].write(plain.view(torch.uint8).numpy().tobytes())
            finally:
                for file in files.values():
                    file.close()
            for path, part in parts.items():
                os.replace(part, path)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)

    def _make_room(self, wanted: int, keep: set[Path]) -> bool:
        """Gives up the files that were unused the longest until `wanted` more bytes fit; False where they cannot."""
        found = sorted(self.folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        sizes = {path: path.stat().st_size for path in found}
        kept = sum(size for path, size in sizes.items() if path in keep)
        if wanted + kept > self.max_bytes:
            return False
        total = sum(sizes.values())
        for path in found:
            if total + wanted <= self.max_bytes:
                break
            if path not in keep:
                path.unlink(missing_ok=True)  # who has it mapped keeps its pages
                total -= sizes[path]
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process of the node builds at a time: the others wait and then find the files."""
        with (self.folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
