"""What may travel with a job: no secrets, nothing that only this machine needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pipeline.errors import InputError, raise_all

LEFT_OUT = (
    *(".git", ".hg", ".svn", ".venv", "venv", "conda-meta", "node_modules", "__pycache__", ".ipynb_checkpoints"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".idea", ".vscode", ".DS_Store"),
    # Ray leaves out what these name, data too.
    *(".gitignore", ".rayignore", ".gitattributes"),
)
SECRET = (
    *(".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pgpass", ".npmrc", ".pypirc"),
    *(".git-credentials", ".htpasswd", ".dockercfg", "kubeconfig", "auth_token", ".vault-token"),
    *("credentials", "credentials.*", "*[-_]credentials.*", "secrets.*", "client_secret*", "*service[-_]account*.json"),
    *(".aws", ".ssh", ".gnupg", ".kube", ".docker", ".azure", ".gcloud"),
)
HARMLESS = ("*.pub", ".env.example", ".env.sample", ".env.template")
_KEY = b"PRIVATE KEY-----"


@dataclass(frozen=True)
class Luggage:
    """The files of a folder that travel, in order, and what stays behind (both relative to the folder)."""

    folder: Path
    files: tuple[Path, ...]
    left_out: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        return sum((self.folder / file).stat().st_size for file in self.files)


def look_through(folder: Path) -> Luggage:
    """What of a folder travels with a job.

    Version control, virtual environments and caches stay behind. Folders behind links stay too; a link to a file is
    that file.

    Raises:
        InputError: every file that must not leave this machine, or that cannot be read.
    """
    files: list[Path] = []
    left: list[Path] = []
    problems: list[InputError] = []
    for path in _walk(folder, left):
        inside = path.relative_to(folder)
        if _is_secret(path):
            what = "a file that must not travel: it looks like a password or a key"
            hint = "take it out of the folder, or name a folder without it"
            problems.append(InputError(what, where=str(path), hint=hint))
        elif not os.access(path, os.R_OK):
            problems.append(InputError("the file cannot be read", where=str(path)))
        else:
            files.append(inside)
    raise_all(problems)
    return Luggage(folder, tuple(sorted(files)), tuple(sorted(path.relative_to(folder) for path in left)))


def _walk(folder: Path, left: list[Path]) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(here, name)
            if name in LEFT_OUT or (path / "pyvenv.cfg").is_file():  # a virtual environment, whatever it is called
                left.append(path)
            elif path.is_file() or (name in folders and _fits(name, SECRET) and not _fits(name, HARMLESS)):
                yield path
        folders[:] = [n for n in folders if Path(here, n) not in left and not _fits(n, SECRET)]


def _is_secret(path: Path) -> bool:
    """By its name, that of the file behind a link, or because it begins as a private key does."""
    if any(_fits(name, SECRET) and not _fits(name, HARMLESS) for name in {path.name, path.resolve().name}):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:  # a folder, or told as unreadable
        return False
    return start.startswith(b"-----BEGIN ") and _KEY in start


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name.lower(), pattern) for pattern in patterns)
