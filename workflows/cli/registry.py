"""`deepprompt registry …`: finding, fetching and promoting registered prompts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigOption, JsonOption, PrefixOption, RegistryOption, open_registry, print_json

app = typer.Typer(help="Find, show, fetch and promote registered prompts.", no_args_is_help=True)

Reference = Annotated[
    str, typer.Argument(metavar="TASK[@ALIAS]", help="TASK (its champion), TASK@ALIAS, TASK@latest or TASK@v3.")
]
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
        shown = open_registry(registry, prefix, config).show(reference)
    manifest = shown.manifest.model_dump(mode="json")
    entry: dict[str, Any] = {**vars(shown), "folder": str(shown.folder), "manifest": manifest}
    if as_json:
        print_json(entry)
        return 0
    console = output()
    parts = ("metrics", "task", "lengths", "combine", "parents", "backbone", "training", "data")
    about = {**{key: entry[key] for key in entry if key not in ("tags", "manifest")}, **{k: manifest[k] for k in parts}}
    about["task"] = manifest["name"]
    for key, value in about.items():
        console.print(f"{key:<9} {cell(value)}", markup=False, soft_wrap=True)
    return 0


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


@app.command("promote")
def promote(
    reference: Reference,
    alias: Annotated[str, typer.Option("--alias", help="The alias to move.")] = "champion",
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
) -> int:
    """Let an alias point at a version: promote intent@v3."""
    with silence_libraries(default_log_file()):
        opened = open_registry(registry, prefix, config)
        found = opened.resolve(reference)
        moved = opened.promote(found.task, found.version, alias)
    was = "" if moved.previous is None else f", it was {moved.previous}"
    typer.echo(f"{found.task}@{alias} is version {found.version}{was}")
    return 0
