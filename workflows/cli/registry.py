"""`deepprompt registry …`: finding, fetching and promoting registered prompts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigOption, JsonOption, PrefixOption, RegistryOption, open_registry, print_json
from workflows.cli.promotions import Reference, diff, history, promote, rollback

if TYPE_CHECKING:
    from pipeline.registry import Ancestor

app = typer.Typer(help="Find, show, fetch, compare, promote and roll back registered prompts.", no_args_is_help=True)
_METRIC = "deepprompt.metric."


@app.command("list")
def list_prompts(
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """List every task's registered versions."""
    from workflows.cli.tables import columns, output

    with silence_libraries(default_log_file()):
        entries = [asdict(entry) for entry in open_registry(registry, prefix, config).list()]
    if as_json:
        print_json(entries)
    elif not entries:
        Console(stderr=True).print("nothing is registered here yet", markup=False)
    else:
        rows = [[e["task"], e["version"], e["versions"], e["aliases"], _figures(e["tags"])] for e in entries]
        output().print(columns(["task", "version", "of", "aliases", "figures"], rows))
    return 0


def _figures(tags: dict[str, str]) -> dict[str, float]:
    return {key.removeprefix(_METRIC): float(value) for key, value in tags.items() if key.startswith(_METRIC)}


@app.command("show")
def show(
    reference: Reference,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show one version: metrics, lineage, files."""
    from workflows.cli.tables import cell, output

    with silence_libraries(default_log_file()):
        opened = open_registry(registry, prefix, config)
        shown = opened.show(reference)
        promoted = [move for move in opened.history(shown.task) if move.version == shown.version]
    manifest = shown.manifest.model_dump(mode="json")
    entry: dict[str, Any] = {**vars(shown), "folder": str(shown.folder), "manifest": manifest}
    entry |= {"lineage": [asdict(one) for one in shown.lineage], "promoted": [asdict(move) for move in promoted]}
    if as_json:
        print_json(entry)
        return 0
    console = output()
    parts = ("metrics", "task", "lengths", "combine", "positions", "parents", "origin", "backbone", "training", "data")
    about = {**{key: entry[key] for key in entry if key not in ("tags", "manifest")}, **{k: manifest[k] for k in parts}}
    about["task"] = manifest["name"]
    about["lineage"] = [_ancestor(one) for one in shown.lineage]
    about["promoted"] = [f"{m.alias} {m.at} by {m.by}{f': {m.reason}' if m.reason else ''}" for m in promoted]
    for key, value in about.items():
        console.print(f"{key:<9} {cell(value)}", markup=False, soft_wrap=True)
    return 0


def _ancestor(one: Ancestor) -> str:
    version = "not registered" if one.version is None else f"v{one.version}"
    return f"{one.name}@{version} of {', '.join(one.tasks) or 'unknown tasks'}"


@app.command("get")
def get(
    reference: Reference,
    into: Annotated[Path | None, typer.Option("--into", help="Copy the files into this new folder.")] = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
) -> int:
    """Fetch one version's files, verified, and print their folder."""
    with silence_libraries(default_log_file()):
        folder = open_registry(registry, prefix, config).get(reference, into)
    typer.echo(str(folder))
    return 0


for command in (promote, rollback, history, diff):
    app.command(command.__name__)(command)
