"""`deepprompt registry …` and `predict`: the commands about prompts that are registered."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.errors import InputError, nearest, raise_all
from workflows.cli_options import ConfigOption, JsonOption, PrefixOption, RegistryOption, print_json
from workflows.console import default_log_file, silence_libraries

if TYPE_CHECKING:
    from pipeline.registry import PromptRegistry

app = typer.Typer(help="Find, show, fetch and promote registered prompts.", no_args_is_help=True)

Reference = Annotated[str, typer.Argument(metavar="TASK[@ALIAS]", help="A task, with an alias or a version number.")]


def open_registry(uri: str | None, prefix: str | None, config: str | None) -> PromptRegistry:
    """The registry that the options mean, once it answers."""
    from pipeline.registry import PromptRegistry
    from workflows.config import load_config
    from workflows.preflight import check_tracking
    from workflows.settings import RegistrySettings

    settings = load_config(config).registry if config else RegistrySettings()
    chosen = uri or settings.uri
    check_tracking(chosen, where="--registry" if uri else "registry.uri")
    return PromptRegistry(chosen, prefix or settings.prefix)


@app.command("list")
def list_prompts(
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """List every task's registered versions."""
    from workflows.tables import columns, output, plain

    with silence_libraries(default_log_file()):
        entries = [plain(entry) for entry in open_registry(registry, prefix, config).list()]
    if as_json:
        print_json(entries)
    elif not entries:
        Console(stderr=True).print("nothing is registered here yet", markup=False)
    else:
        output().print(columns(list(entries[0]), [list(entry.values()) for entry in entries]))
    return 0


@app.command("show")
def show(
    reference: Reference,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show one version: metrics, lineage, files."""
    from workflows.tables import cell, output, plain

    with silence_libraries(default_log_file()):
        entry = plain(open_registry(registry, prefix, config).show(reference))
    if as_json:
        print_json(entry)
    else:
        console = output()
        width = max(map(len, entry))
        for key, value in entry.items():
            console.print(f"{key:<{width}}  {cell(value)}", markup=False)
    return 0


@app.command("get")
def get(
    reference: Reference,
    to: Annotated[Path | None, typer.Option("--to", help="Copy the files into this new folder.")] = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
) -> int:
    """Fetch one version's files, verified, and print the folder."""
    import shutil

    if to is not None and to.exists():
        raise InputError(
            "this is there already", where="--to", found=str(to), expected="a folder that is not there yet"
        )
    with silence_libraries(default_log_file()):
        folder = open_registry(registry, prefix, config).get(reference)
        if to is not None:
            folder = Path(shutil.copytree(folder, to))
    typer.echo(str(folder))
    return 0


@app.command("promote")
def promote(
    reference: Reference,
    alias: Annotated[str, typer.Option("--alias", help="The alias to move.")] = "champion",
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
) -> int:
    """Let an alias point at a version."""
    with silence_libraries(default_log_file()):
        version = open_registry(registry, prefix, config).promote(reference, alias=alias)
    typer.echo(f"{reference.partition('@')[0]}@{alias} is version {getattr(version, 'version', version)}")
    return 0


def predict(
    reference: Annotated[
        str | None, typer.Argument(metavar="[TASK[@ALIAS]]", help="May be left out when every row names its task.")
    ] = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the backbone is now, when its folder has moved.")
    ] = None,
) -> int:
    """Answer rows of JSON lines from stdin; rows may name different tasks (key "task") and share batches."""
    rows = read_rows(sys.stdin.buffer, reference)
    with silence_libraries(default_log_file()):
        answers = _answers(rows, open_registry(registry, prefix, config), backbone)
    for answer in answers:
        typer.echo(json.dumps(answer, ensure_ascii=False))
    return 0


def _answers(rows: list[dict[str, Any]], registry: PromptRegistry, model: str | None) -> list[dict[str, Any]]:
    from pipeline.registry import Predictor, load_artifact, open_backbone

    if not rows:
        return []
    artifacts = {name: load_artifact(registry.get(name)) for name in dict.fromkeys(row["task"] for row in rows)}
    backbone = open_backbone(next(iter(artifacts.values())).manifest.backbone, model=model)
    return Predictor(backbone, artifacts).predict(rows)


def read_rows(lines: Iterable[bytes], reference: str | None) -> list[dict[str, Any]]:
    """Rows to answer, each with its task; blank lines are passed over.

    Raises:
        InputErrors: lines that are not UTF-8, not JSON objects, or name no task, each with its number.
    """
    rows: list[dict[str, Any]] = []
    problems: list[InputError] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line, f"stdin:{number}", reference))
        except InputError as problem:
            problems.append(problem)
            if len(problems) == 10:
                break
    raise_all(problems)
    return rows


def _row(line: bytes, where: str, reference: str | None) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError("the line is not UTF-8", where=where, found=f"byte 0x{line[error.start]:02x}") from error
    except ValueError as error:
        raise InputError(f"the line is not JSON: {error}", where=where, found=line.decode().strip()[:80]) from error
    if not isinstance(row, dict):
        raise InputError("the line is not a JSON object", where=where, found=row, expected='{"text": …}')
    task = row.get("task", reference)
    if task is None:
        close = nearest("task", row)
        hint = "name a task on the command line, or in every row"
        raise InputError("the row names no task", where=where, found=", ".join(row), nearest=close, hint=hint)
    if not isinstance(task, str):
        raise InputError("the task is not text", where=where, found=task)
    return {**row, "task": task}
