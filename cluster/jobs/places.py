"""Where what a config names lies, and how a job on a cluster comes by it.

A folder of this machine travels with the job when it is small. A larger one must lie where every node sees it under the
same path, or at a URI that the job reads itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cluster.jobs.luggage import look_through
from pipeline.errors import InputError

LIMIT = 100 << 20  # bytes; Ray's dashboard takes no larger upload
WHOLE = 64 << 20
"""Bytes up to which a file that does not travel is read as a whole to know its version."""
NETWORK = (
    *("nfs", "cifs", "smb", "lustre", "ceph", "gluster", "beegfs", "gpfs", "wekafs", "afs", "pvfs2"),
    *("fuse.s3fs", "fuse.mountpoint-s3", "fuse.gcsfuse", "fuse.juicefs", "fuse.glusterfs", "fuse.ceph"),
)
ELSEWHERE = (
    "put it where every node sees it under the same path and say so (`--shared FOLDER`), or at a URI (s3://…), "
    "and name that in the config"
)
HOW = {
    "sent": "travels with the job",
    "shared": "stays where it is: every node must see it under this path",
    "uri": "is read there by the job",
    "there": "is not on this machine: the cluster must have it under this path",
}


@dataclass(frozen=True)
class Place:
    """One folder that a config names.

    Args:
        what: what it is to the run, such as "the data of intent".
        named: as the config has it. path: absolute; the URI itself where it is one.
        how: a key of `HOW`. bytes: its size where it is known.
        note: what else the user should know.
    """

    what: str
    named: str
    path: str
    how: str
    bytes: int | None = None
    note: str | None = None

    @property
    def words(self) -> str:
        """For people: what becomes of it, in half a sentence."""
        return HOW[self.how] + (f" ({self.note})" if self.note else "")


def find_places(named: Sequence[tuple[str, str]], base: Path, shared: Sequence[Path] = ()) -> tuple[Place, ...]:
    """What becomes of each folder.

    Args:
        named: (what, path or URI as the config has it); paths are relative to `base`.
        shared: folders that every node sees under the same path; what lies in them does not travel.

    Raises:
        InputError: too much would travel, a file in it must not, or a URI is of no known kind.
    """
    places = [_place(what, text, base, [folder.resolve() for folder in shared]) for what, text in named]
    if _travelling(places) > LIMIT:
        # What lies on a network's storage is most likely seen by the cluster as well: rather that than to refuse it.
        places = [_on_network(place) for place in places]
    sent = sorted({(place.bytes or 0, place.path) for place in places if place.how == "sent"}, reverse=True)
    total = _travelling(places)
    if total > LIMIT:
        raise InputError(
            "the folders named here are too large to travel with a job",
            where=sent[0][1],
            found=f"{total / 2**20:.0f} MiB: " + ", ".join(f"{size / 2**20:.1f} in {path}" for size, path in sent[:5]),
            expected=f"at most {LIMIT >> 20} MiB",
            hint=ELSEWHERE,
        )
    return tuple(places)


def version_of(place: Place) -> str:
    """What tells the present content of something that does not travel from an earlier one; "" where nothing does."""
    if place.how == "uri":
        return _version_there(place.path)[0]
    if place.how != "shared":
        return ""
    digest = hashlib.sha256()
    luggage = look_through(Path(place.path))
    for inside in luggage.files:
        file = luggage.folder / inside
        facts = file.stat()
        digest.update(f"\0{inside}\0{facts.st_size}\0".encode())
        if facts.st_size > WHOLE:
            digest.update(str(facts.st_mtime_ns).encode())
        else:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _place(what: str, text: str, base: Path, shared: Sequence[Path]) -> Place:
    if "://" in text:
        version, problem = _version_there(text)
        note = None if version else f"cannot be read from here: {problem}; the job uses its own credentials"
        return Place(what, text, text, "uri", note=note)
    here = (base / Path(text).expanduser()).resolve()
    if not here.is_dir():
        return Place(what, text, str(here), "there")
    if any(here.is_relative_to(folder) for folder in shared):
        return Place(what, text, str(here), "shared")
    luggage = look_through(here)
    behind = f"without {', '.join(map(str, luggage.left_out[:3]))}" if luggage.left_out else None
    return Place(what, text, str(here), "sent", luggage.bytes, behind)


def _version_there(uri: str) -> tuple[str, str]:
    from pipeline.tasks.data.remote import remote_version  # brings torch

    return remote_version(uri)


def _travelling(places: Sequence[Place]) -> int:
    """Bytes; a folder that two tasks name travels once."""
    return sum({place.path: place.bytes or 0 for place in places if place.how == "sent"}.values())


def _on_network(place: Place) -> Place:
    kind = _file_system(place.path) if place.how == "sent" else None
    if kind is None or not kind.startswith(NETWORK):
        return place
    return Place(place.what, place.named, place.path, "shared", place.bytes, f"it is on {kind} and too large to travel")


@lru_cache(maxsize=64)
def _file_system(path: str) -> str | None:
    """The kind of file system that a path is on."""
    import psutil

    mounts = [m for m in psutil.disk_partitions(all=True) if Path(path).is_relative_to(m.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else None
