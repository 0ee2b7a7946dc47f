"""A schedule as files ready to apply, from the templates beside this file.

A template can print numbers and text that a filter of `quoting` has quoted, nothing else; what came out is read back
before it is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from cluster.schedules import quoting
from cluster.schedules.plan import Schedule
from pipeline.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
RAY = "2.60.0"
"""The Ray in the image. KubeRay wants to know it: for the token, and to probe over HTTP instead of with wget."""
USER = 1000
"""The image's user."""
CONFIG_FOLDER = "/etc/deepprompt"
LABEL = "deepprompt/schedule"

_FILES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "k8s": {"{}-cronjob.yaml": "cronjob.yaml.j2"},
        "kuberay": {
            "{}-rayjob.yaml": "rayjob.yaml.j2",
            "{}-raycronjob.yaml": "raycronjob.yaml.j2",
            "{}-raycluster.yaml": "raycluster.yaml.j2",
        },
        "cron": {"{}.crontab": "crontab.j2"},
        "systemd": {"{}.service": "service.j2", "{}.timer": "timer.j2"},
        "github": {"{}.yaml": "github.yaml.j2"},
    }
)


def render(schedule: Schedule) -> dict[str, str]:
    """The files of a schedule: name → text.

    Raises:
        InputError: jinja2 is not installed; a text came out that does not read back.
    """
    try:
        import jinja2
    except ImportError as error:
        raise InputError("jinja2 is not installed", where="schedule", hint="pip install jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # HTML's rules are none of these files'; `finalize` insists on the filters below instead
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_only_quoted,
    )
    environment.filters.update(_FILTERS)
    values = _values(schedule)
    # A CronJob's pod makes the RayJob from this; whoever renders a RayJob alone uses the same lines.
    files = {}
    for name, template in _FILES[schedule.target].items():
        if schedule.target == "k8s" and schedule.address is None:
            values["rayjob"] = environment.get_template("rayjob_made.yaml.j2").render(values)
        files[name.format(schedule.name)] = environment.get_template(template).render(values)
    _read_back(files, schedule)
    return files


def retrain_words(schedule: Schedule) -> list[str]:
    """What a tick runs, after the word `deepprompt`."""
    if schedule.address is not None:
        return ["submit", _config_there(schedule), "--address", schedule.address, "--wait"]
    return ["retrain", _config_there(schedule), "--if", schedule.condition, "--overlap", schedule.overlap]


def _config_there(schedule: Schedule) -> str:
    in_cluster = schedule.target in ("k8s", "kuberay")
    return f"{CONFIG_FOLDER}/config.yaml" if in_cluster else schedule.config_path


def _values(schedule: Schedule) -> dict[str, Any]:
    seconds = int(schedule.deadline.total_seconds())
    return {
        "s": schedule,
        "words": retrain_words(schedule),
        "command": [*schedule.program, *retrain_words(schedule)],
        # In a cluster nothing of the user's is in the command: KubeRay pastes it into a shell script as it is.
        "entrypoint": " ".join(["deepprompt", *retrain_words(schedule)]),
        "calendar": schedule.cron.on_calendar(schedule.zone),
        "seconds": seconds,
        "ray": RAY,
        "user": USER,
        "config_folder": CONFIG_FOLDER,
        "label": LABEL,
        "concurrency": {"forbid": "Forbid", "queue": "Allow", "replace": "Replace"}[schedule.overlap],
        "log": f"{schedule.folder.rstrip('/')}/{schedule.name}.log",
    }


_FILTERS: Mapping[str, Callable[..., str]] = {
    "yaml": quoting.yaml_text,
    "kube": quoting.kube_text,
    "file": quoting.yaml_file,
    "shell": quoting.shell_words,
    "crontab": quoting.crontab_words,
    "systemd": quoting.systemd_words,
    "systemd_path": quoting.systemd_path,
    "plain": lambda value: quoting.Quoted(_plain(str(value))),
    # For what templates made themselves: a macro's lines, indented but for the first; a literal with braces in it.
    "lines": lambda text, spaces: quoting.Quoted(text.strip("\n").replace("\n", "\n" + " " * spaces)),
    "literal": quoting.Quoted,
}


def _plain(text: str) -> str:
    """Text that was checked elsewhere to be plain: names, cron expressions."""
    if not text.isascii() or not text.isprintable() or set(text) & set("\"'\\$`%{}"):
        raise ValueError(f"not plain: {text!r}")
    return text


def _only_quoted(value: object) -> object:
    if isinstance(value, (quoting.Quoted, int)):
        return value
    raise TypeError(f"a template prints {value!r} without a filter")


def _read_back(files: Mapping[str, str], schedule: Schedule) -> None:
    for name, text in files.items():
        if not name.endswith(".yaml"):
            continue
        for document in yaml.safe_load_all(text):
            if document.get("kind") == "ConfigMap" and document["data"]["config.yaml"] != schedule.config_text:
                raise InputError("this config cannot be put into a ConfigMap", where=schedule.config_path)
