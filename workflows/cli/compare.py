"""`deepprompt compare`: methods side by side on a config's tasks, under one budget, in one table."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.cli.options import ConfigArgument, JsonOption, SetOption, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from workflows.compare import Comparison

_HEADERS = ("task", "method", "test", "dev", "trained", "seconds", "steps", "rate", "")


def compare(
    config: ConfigArgument,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="NAME,…", help="Instead of compare.methods.")
    ] = None,
    changes: SetOption = None,
    address: Annotated[str | None, typer.Option("--address", help="A running Ray cluster to join.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Train several methods on the tasks of a config under one budget, and print one table."""
    from workflows.cli.progress import at_work
    from workflows.config.load import load_config

    chosen = [] if methods is None else [f"compare.methods=[{methods}]"]
    settings = load_config(config, [*(changes or ()), *chosen])
    log_file = settings.run_folder.with_name(f"{settings.name}-compare") / "compare.log"
    with at_work(log_file) as listener:
        from workflows.compare import compare as compare_methods

        result = compare_methods(settings, address=address, on_event=listener, log_file=log_file)
    if as_json:
        print_json(result.as_json())
    else:
        from workflows.cli.tables import output

        print_comparison(result, config, output())
    return result.exit_code


def print_comparison(result: Comparison, config_argument: str, console: Console) -> None:
    """The table, what failed, and what to type next."""
    from workflows.cli.tables import columns
    from workflows.words import figure, span, spread

    rows: list[tuple[Any, ...]] = [
        (
            *(row.task, row.method, spread(row.test), spread(row.dev), row.parameters),
            *(f"{row.seconds:.1f}", row.steps, f"{row.learning_rate:g}", "best" if row.best else ""),
        )
        for row in result.rows
    ]
    if len({row.task for row in result.rows}) > 1:
        rows += [("mean", method, figure(mean), "", None, "", None, "", "") for method, mean in result.means().items()]
    if rows:
        table = columns(_HEADERS, rows)
        for column in table.columns[2:8]:
            column.justify = "right"
        console.print(table)
        told = f"test and dev: mean ± deviation over seeds; {result.budget}; seconds are those of training one seed"
        console.print(f"\n{told}", markup=False, soft_wrap=True)
    for name, reason in result.failed.items():
        console.print(f"failed: {name}: {reason}", markup=False, soft_wrap=True)
    console.print(f"done in {span(result.seconds)}; page: {result.page}", markup=False, soft_wrap=True)
    config = shlex.quote(config_argument)
    if result.failed:
        console.print(f"next: deepprompt compare {config}", markup=False, soft_wrap=True)
    elif result.choice is not None:
        other = result.choice not in ("shared", result.own)
        length = next(row.length for row in result.rows if row.method == result.choice)
        prompt = f"prompt={{method: {result.choice}{f', length: {length}' if length else ''}}}"
        changes = f" --set {shlex.quote(prompt)}" if other else ""
        changes += " --set pretrain=null" if result.choice == "head" else ""
        console.print(f"next: deepprompt run {config}{changes}", markup=False, soft_wrap=True)
