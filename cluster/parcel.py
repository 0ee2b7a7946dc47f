"""What travels with a job: the config, small local folders it names, and a name that the same run gets again."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError, raise_all

PACKAGES = ("pipeline", "workflows", "cluster")
LIMIT = 100 << 20  # bytes; Ray's dashboard takes no larger upload
ELSEWHERE = "put it where the cluster sees it and name that folder in the config"


def pack(config_path: Path, folder: Path) -> Path:
    """Fills `folder` with the config and the local folders it names (task data, backbone); returns the config there.

    A folder named in the config is relative to the config file. One that is not on this machine is the cluster's and
    stays as it is written.

    Raises:
        InputError: no readable config; the folders together are too large to send.
    """
    config = read_config(config_path)
    named = list(_folders(config, config_path.absolute().parent))
    size = sum(file.stat().st_size for _, _, here in named for file in _files(here))
    if size > LIMIT:
        raise InputError(
            "the folders named here are too large to travel with a job",
            where=str(config_path),
            found=f"{size / 2**20:.0f} MiB in {', '.join(sorted({str(here) for _, _, here in named}))}",
            expected=f"at most {LIMIT >> 20} MiB",
            hint=ELSEWHERE,
        )
    for index, (section, key, here) in enumerate(named):
        there = f"sent/{index}-{here.name}"
        for file in _files(here):
            copy = folder / there / file.relative_to(here)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        section[key] = f"./{there}"
    target = folder / config_path.name
    target.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return target


def read_config(path: Path) -> dict[str, Any]:
    """The config as plain YAML; `deepprompt run` on the cluster checks it in full."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the config: {error}", where=str(path)) from error
    if not isinstance(config, dict):
        raise InputError("the config is no mapping of settings", where=str(path), found=type(config).__name__)
    return config


def check_lasting(config: Mapping[str, Any], arguments: Sequence[str], where: str) -> None:
    """Refuses results in a job's working folder: Ray deletes it, and the run with its checkpoints would be lost."""
    settings = dict(argument.partition("=")[::2] for argument in arguments if "=" in argument)
    registry = config.get("registry", {})
    storage = settings.get("storage", config.get("storage", "runs"))
    uri = settings.get("registry.uri", (registry or {}).get("uri", "sqlite:///mlflow.db"))
    problems = []
    if not Path(str(storage)).is_absolute():
        problems.append(
            InputError(
                "a job's own folder is deleted after it",
                where=f"{where}: storage",
                found=storage,
                expected="an absolute path on storage that every node reaches",
            )
        )
    if registry is not None and re.match(r"sqlite:///[^/]", str(uri)):
        problems.append(
            InputError(
                "a job's own folder is deleted after it",
                where=f"{where}: registry.uri",
                found=uri,
                expected="http(s)://SERVER or sqlite:////ABSOLUTE/PATH",
            )
        )
    raise_all(problems)


def submission_name(parcel: Path, name: object, parts: Sequence[str]) -> str:
    """`NAME-HASH`: the same for the same parcel, arguments and code version, whoever sends it from wherever."""
    digest = hashlib.sha256()
    for file in _files(parcel):
        digest.update(f"\0{file.relative_to(parcel)}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    digest.update("\0".join(parts).encode())
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', str(name)) or 'run'}-{digest.hexdigest()[:16]}"


def packages() -> list[str]:
    """The folders of our packages, wherever they are imported from."""
    specs = [importlib.util.find_spec(name) for name in PACKAGES]
    return [str(Path(spec.origin).parent) for spec in specs if spec is not None and spec.origin]


def _folders(config: Mapping[str, Any], base: Path) -> Iterator[tuple[dict[str, Any], str, Path]]:
    """(section, key, folder) for every local folder that the config names."""
    tasks = config.get("tasks")
    data = [task.get("data") for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    places = [(section, "path") for section in data] + [(config.get("backbone"), "model")]
    for section, key in places:
        if isinstance(section, dict) and isinstance(section.get(key), str):
            here = (base / Path(section[key]).expanduser()).resolve()
            if here.is_dir():
                yield section, key, here


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
