"""`deepprompt export` and `deepprompt import`: prompts to and from the PEFT library's adapters."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.errors import InputError, nearest
from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigOption, JsonOption, PrefixOption, RegistryOption, open_registry, print_json

if TYPE_CHECKING:
    from pipeline.registry import Artifact, Registered
    from pipeline.registry.peft import Exported

_FORMATS = ("peft",)


def export(
    reference: Annotated[
        str, typer.Argument(metavar="TASK[@ALIAS]", help="As `registry get` takes it, or an artifact's folder.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    to: Annotated[str, typer.Option("--to", metavar="peft", help="The format.")] = "peft",
    member: Annotated[int | None, typer.Option("--member", help="Which prompt of an ensemble, from 1.")] = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write a prompt and its head as a PEFT adapter, with a README that says how to load it so that answers agree."""
    from pipeline.registry import load_artifact
    from pipeline.registry.peft import export_adapter

    if to not in _FORMATS:
        close = nearest(to, _FORMATS)
        raise InputError("unknown format", where="--to", found=to, expected=", ".join(_FORMATS), nearest=close)
    with silence_libraries(default_log_file()):
        place = Path(reference)
        if not (place / "manifest.json").is_file():
            place = open_registry(registry, prefix, config).get(reference)
        done = export_adapter(load_artifact(place), folder, member=member)
    if as_json:
        print_json({**vars(done), "folder": str(done.folder)})
    else:
        _tell_export(done)
    return 0


def _tell_export(done: Exported) -> None:
    from workflows.cli.tables import columns, output

    output().print(columns(["file", "bytes"], list(done.files.items())))
    typer.echo(f"a {done.kind} adapter of {done.places} places, for {done.task_type}, in {done.folder}")
    console = Console(stderr=True)
    if done.reading in ("mean", "first", "last"):
        what = f"PEFT's sentence classes do not read the {done.reading} of a row: the head scores every token, and"
        console.print(f"note: {what} README.md reads the answer off", markup=False, soft_wrap=True)
    if done.kind == "PREFIX_TUNING" and done.positions == "own":
        what = "PEFT shifts positions by the prompt's length, this prompt does not: pass position_ids as in README.md"
        console.print(f"note: {what}", markup=False, soft_wrap=True)
    console.print(f"next: cat {shlex.quote(str(done.folder / 'README.md'))}", markup=False, soft_wrap=True)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A PEFT adapter: a prefix, a prompt or P-tuning.")],
    task: Annotated[str | None, typer.Option("--task", metavar="NAME", help="The task's name here.")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B,C", help="What the head's outputs stand for; or a JSON list.")
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="The task's type, where the head leaves a choice.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the base model is, if not where the adapter says.")
    ] = None,
    same_base: Annotated[
        bool, typer.Option("--same-base", help="It is the adapter's base model, though its name is another.")
    ] = False,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Of a row.")] = None,
    alias: Annotated[
        str | None, typer.Option("--alias", help="Let an alias point to it, such as champion; none by default.")
    ] = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Register a PEFT adapter as a version of a task: served, compared and promoted like any other."""
    from pipeline.registry.peft import Wanted, import_adapter, read_adapter

    names = None if labels is None else _labels(labels)
    with silence_libraries(default_log_file()), tempfile.TemporaryDirectory() as scratch:
        opened = open_registry(registry, prefix, config)
        wanted = Wanted(task, type_, names, backbone, same_base, max_tokens)
        made = import_adapter(read_adapter(folder), Path(scratch) / "artifact", wanted)
        reason = f"imported from {folder.absolute()}"
        found = opened.register(Path(scratch) / "artifact", alias=alias, reason=reason)
    if as_json:
        print_json({**vars(found), "manifest": made.manifest.model_dump(mode="json")})
    else:
        _tell_import(made, found, alias)
    return 0


def _labels(text: str) -> tuple[str, ...]:
    """`a,b,c`, or a JSON list where labels have commas."""
    if not text.lstrip().startswith("["):
        return tuple(label.strip() for label in text.split(","))
    try:
        plain: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"the labels are not JSON ({error})", where="--labels", found=text) from error
    if not isinstance(plain, list) or not all(isinstance(label, str) for label in plain):
        raise InputError("the labels are not a list of texts", where="--labels", found=text)
    return tuple(plain)


def _tell_import(made: Artifact, found: Registered, alias: str | None) -> None:
    from pipeline.tasks import TASK_TYPES
    from workflows.cli.tables import columns, output

    manifest = made.manifest
    assert manifest.task is not None
    row = (found.task, found.version, manifest.task.type, manifest.method, manifest.lengths[0], manifest.positions)
    headers = ["task", "version", "type", "method", "length", "positions", "backbone"]
    output().print(columns(headers, [[*row, manifest.backbone.name]]))
    console = Console(stderr=True)
    if not found.created:
        console.print("note: the same artifact was registered before", markup=False)
    task, at = shlex.quote(found.task), f"@v{found.version}" if alias is None else f"@{alias}"
    example = json.dumps(TASK_TYPES[manifest.task.type].example)
    for command in (
        f"echo {shlex.quote(example)} | deepprompt predict {task}{at}",
        *([f"deepprompt registry promote {task}@v{found.version}"] if alias is None else []),
    ):
        console.print(f"next: {command}", markup=False, soft_wrap=True)
