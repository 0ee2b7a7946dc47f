"""`deepprompt report`: the report of a run, written again from what it left; without a word to Ray or the registry."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigArgument, JsonOption, SetOption, print_json


def report(
    config: ConfigArgument,
    changes: SetOption = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Write the report of a run, as far as the run is, and print where it is."""
    from workflows.config.load import load_config

    settings = load_config(config, changes or ())
    with silence_libraries(default_log_file()) as streams:
        from workflows.report.again import report_again

        with Console(file=streams.err).status("reading the run"):
            told = report_again(settings, out)
    if as_json:
        print_json(told)
    else:
        typer.echo(told["report"])
        _tell_what_is_missing(told, shlex.quote(config))
    if show:
        import webbrowser

        webbrowser.open(Path(told["report"]).as_uri())
    return 0


def _tell_what_is_missing(told: dict[str, Any], config: str) -> None:
    """On stderr, so that stdout stays the path alone."""
    for task, reason in told["failed"].items():
        print(f"failed: {task}: {reason}", file=sys.stderr)
    for one in told["missing"]:
        who = ", ".join(one["tasks"]) or "the registry"
        print(f"missing: {who}: {one['room']} is {one['status']} ({one['reason']})", file=sys.stderr)
    if not told["complete"]:
        print(f"next: deepprompt run {config}", file=sys.stderr)
