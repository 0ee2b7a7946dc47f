"""`deepprompt plan`, `run` and `status`: the commands about one config."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from cluster.launcher import LAUNCHERS
from pipeline.errors import InputError, nearest
from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigArgument, JsonOption, LauncherOption, SetOption, print_json


def plan(config: ConfigArgument, changes: SetOption = None, as_json: JsonOption = False) -> int:
    """Show what a run would do, what it would cost, and what is wrong with it."""
    from workflows.config.load import load_config

    settings = load_config(config, changes or ())
    with silence_libraries(default_log_file()) as streams:
        from workflows.cli.plan_text import render
        from workflows.cli.tables import output
        from workflows.plan.make import make_plan

        with Console(file=streams.err).status("reading the data"):
            made = make_plan(settings)
    if as_json:
        print_json(made.as_json())
    else:
        render(made, output())
    return 0


def run(
    config: ConfigArgument,
    changes: SetOption = None,
    launcher: LauncherOption = None,
    address: Annotated[str | None, typer.Option("--address", help="A running Ray cluster to join.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Do what is not yet done of a run; after an interruption, the same command continues."""
    from workflows.cli.progress import at_work
    from workflows.config.load import load_config

    if launcher not in (None, *LAUNCHERS):
        close = nearest(str(launcher), LAUNCHERS)
        raise InputError(
            "no such launcher", where="--launcher", found=launcher, expected=" or ".join(LAUNCHERS), nearest=close
        )
    settings = load_config(config, [*(changes or ()), *([f"launcher={launcher}"] if launcher else [])])
    log_file = settings.run_folder / "run.log"
    with at_work(log_file) as listener:
        from workflows.run import run as run_config

        summary = run_config(settings, address=address, on_event=listener, log_file=log_file)
    if as_json:
        print_json(summary.as_json())
    else:
        from workflows.cli.results import print_results
        from workflows.cli.tables import output

        print_results(summary, config, output())
    return summary.exit_code


def status(config: ConfigArgument, changes: SetOption = None, as_json: JsonOption = False) -> int:
    """Tell where a run stands, stage by stage."""
    from workflows.config.load import load_config

    settings = load_config(config, changes or ())
    with silence_libraries(default_log_file()) as streams:
        from workflows.stages.graph import build_graph

        with Console(file=streams.err).status("reading the data"):
            standings = build_graph(settings).standings()
    rows = [{"stage": name, "status": s.status.value, "reason": s.reason} for name, s in standings.items()]
    if as_json:
        print_json({"run": settings.name, "folder": str(settings.run_folder), "stages": rows})
        return 0
    from workflows.cli.tables import columns, output

    console = output()
    console.print(columns(("stage", "status", "reason"), [tuple(row.values()) for row in rows]))
    done = sum(standing.skipped for standing in standings.values())
    console.print(f"\n{done} of {len(rows)} stages are done, in {settings.run_folder}", markup=False)
    return 0
