"""What travels with a job: the config, small local folders it names, and a name that the same run gets again."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.jobs.luggage import look_through
from cluster.jobs.places import Place, find_places, version_of
from pipeline.errors import InputError, raise_all

BACKBONE = "the backbone"
PACKAGES = ("pipeline", "workflows", "cluster")


@dataclass(frozen=True)
class Parcel:
    """A folder ready to be sent.

    Args:
        folder: what is sent. config: the config in it. places: what became of each folder that the config names.
    """

    folder: Path
    config: Path
    places: tuple[Place, ...]


def pack(
    config_path: Path, folder: Path, shared: Sequence[Path] = (), config: Mapping[str, Any] | None = None
) -> Parcel:
    """Fills `folder` with the config and the local folders it names (task data, backbone) that travel.

    A folder named in the config is relative to the config file. One that is not on this machine is the cluster's and
    stays as it is written.

    Args:
        shared: folders that every node sees under the same path.
        config: what the file says, where it is known better than by reading it: with changes.

    Raises:
        InputError: no readable config; the folders are too large to send, or hold what must not be sent.
    """
    config = copy.deepcopy(dict(config)) if config is not None else read_config(config_path)
    named = list(_named(config))
    base = config_path.absolute().parent
    places = find_places([(what, section[key]) for what, section, key in named], base, shared)
    sent: dict[str, str] = {}
    for place, (_, section, key) in zip(places, named, strict=True):
        if place.how == "shared":
            section[key] = place.path
        if place.how != "sent":
            continue
        if place.path not in sent:
            here = Path(place.path)
            sent[place.path] = f"sent/{len(sent)}/{here.name}"
            _copy(here, folder / sent[place.path])
        section[key] = f"./{sent[place.path]}"
    target = folder / config_path.name
    target.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return Parcel(folder, target, places)


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
    registry = config.get("registry", {})
    storage, uri = result_places(config, arguments)
    problems = []
    if not Path(storage).is_absolute():
        problems.append(
            InputError(
                "a job's own folder is deleted after it",
                where=f"{where}: storage",
                found=storage,
                expected="an absolute path on storage that every node reaches",
                hint="--set storage=/SHARED/runs",
            )
        )
    if registry is not None and re.match(r"sqlite:///[^/]", uri):
        problems.append(
            InputError(
                "a job's own folder is deleted after it",
                where=f"{where}: registry.uri",
                found=uri,
                expected="http(s)://SERVER or sqlite:////ABSOLUTE/PATH",
                hint="--set registry.uri=http://MLFLOW:5000",
            )
        )
    raise_all(problems)


def result_places(config: Mapping[str, Any], arguments: Sequence[str]) -> tuple[str, str]:
    """Where a run's results go, as config and `--set` arguments have it: its storage, and the registry's URI."""
    settings = dict(argument.partition("=")[::2] for argument in arguments if "=" in argument)
    registry = config.get("registry") or {}
    storage = settings.get("storage", config.get("storage", "runs"))
    return str(storage), str(settings.get("registry.uri", registry.get("uri", "sqlite:///mlflow.db")))


def submission_name(parcel: Path, name: object, parts: Sequence[str]) -> str:
    """`NAME-HASH`: the same for the same parcel, arguments and code version, whoever sends it from wherever."""
    digest = hashlib.sha256()
    _add(digest, parcel, sorted(path.relative_to(parcel) for path in parcel.rglob("*") if path.is_file()))
    digest.update("\0".join(parts).encode())
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', str(name)) or 'run'}-{digest.hexdigest()[:16]}"


def versions_of(places: Sequence[Place]) -> list[str]:
    """The versions of the data that do not travel: they name the job as those that do."""
    return [version_of(place) for place in places if place.how != "sent"]


def packages() -> list[str]:
    """The folders of our packages, wherever they are imported from."""
    specs = [importlib.util.find_spec(name) for name in PACKAGES]
    return [str(Path(spec.origin).parent) for spec in specs if spec is not None and spec.origin]


def packages_version() -> str:
    """sha256 of all that our packages hold: other code is another job."""
    digest = hashlib.sha256()
    for folder in map(Path, packages()):
        _add(digest, folder, look_through(folder).files)
    return digest.hexdigest()


def _add(digest: Any, folder: Path, files: Sequence[Path]) -> None:
    for file in files:
        digest.update(f"\0{file}\0{(folder / file).stat().st_size}\0".encode())
        with (folder / file).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())


def _copy(folder: Path, to: Path) -> None:
    for file in look_through(folder).files:
        target = to / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, target)


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(what, section, key) for every place that the config names."""
    from pipeline.backbone.source import BUILT_IN

    tasks = config.get("tasks")
    for task in tasks if isinstance(tasks, list) else []:
        data = task.get("data") if isinstance(task, dict) else None
        if isinstance(data, dict) and isinstance(data.get("path"), str):
            yield f"the data of {task.get('name')}", data, "path"
    backbone = config.get("backbone")
    if isinstance(backbone, dict) and isinstance(backbone.get("model"), str) and backbone["model"] not in BUILT_IN:
        yield BACKBONE, backbone, "model"
