"""`deepprompt doctor`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import JsonOption, print_json


def doctor(
    config: Annotated[str | None, typer.Option("--config", metavar="CONFIG", help="Examine it for this run.")] = None,
    address: Annotated[str | None, typer.Option("--address", help="A Ray cluster that should answer.")] = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="Compile what DeepSpeed needs, ahead of a run.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also import what is otherwise only looked up.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Examine this machine and say what to do."""
    from workflows.config.load import load_config
    from workflows.doctor.checks import Patient
    from workflows.doctor.examine import as_rows, as_table, compile_ahead, examine, healthy

    patient = Patient(load_config(config) if config else None, address, deep)
    with silence_libraries(default_log_file()) as streams:
        if prepare:
            with Console(file=streams.err).status("compiling DeepSpeed's operator for processors (a minute at most)"):
                done = compile_ahead()
            print(done, file=streams.err)
        findings = examine(patient)
    if as_json:
        print_json(as_rows(findings))
    else:
        Console().print(as_table(findings))
    return 0 if healthy(findings) else 1
