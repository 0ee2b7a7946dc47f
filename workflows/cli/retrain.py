"""`deepprompt retrain`: what needs training again, done, gated, and told."""

from __future__ import annotations

import shlex
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError, nearest
from workflows.cli.options import ConfigArgument, JsonOption, LauncherOption, SetOption, print_json
from workflows.config.operating import CONDITIONS, OVERLAPS

if TYPE_CHECKING:
    from rich.console import Console

    from workflows.retrain.summary import RetrainRow, RetrainSummary

_HEADERS = ("task", "decision", "why", "champion", "challenger", "gain", "what happened", "next")


def retrain(
    config: ConfigArgument,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--if", metavar="|".join(CONDITIONS), help="When a task is trained again. Repeatable."),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="The date it is done for, 2026-01-31; today (UTC).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the decisions and change nothing.")] = False,
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", metavar="|".join(OVERLAPS), help="What to do while another one is going on."),
    ] = None,
    changes: SetOption = None,
    launcher: LauncherOption = None,
    address: Annotated[str | None, typer.Option("--address", help="A running Ray cluster to join.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Adapt anew what changed, is stale or got worse, and promote only what the gate lets through."""
    from cluster.launcher import LAUNCHERS
    from workflows.cli.progress import at_work
    from workflows.config.load import load_config

    for condition in conditions or ():
        _check("--if", condition, CONDITIONS)
    if overlap is not None:
        _check("--overlap", overlap, OVERLAPS)
    if launcher is not None:
        _check("--launcher", launcher, LAUNCHERS)
    day = None if as_of is None else _date(as_of)
    settings = load_config(config, [*(changes or ()), *([f"launcher={launcher}"] if launcher else [])])
    log_file = settings.run_folder.with_name(f"{settings.name}.retrain.log")
    with at_work(log_file) as listener:
        from workflows.retrain.retrain import retrain as retrain_config

        summary = retrain_config(
            settings,
            conditions=conditions,
            as_of=day,
            dry_run=dry_run,
            overlap=overlap,
            address=address,
            on_event=listener,
            log_file=log_file,
        )
    if as_json:
        print_json(summary.as_json())
    else:
        from workflows.cli.tables import output

        print_retraining(summary, config, output())
    return summary.exit_code


def _check(where: str, found: str, choices: tuple[str, ...]) -> None:
    if found not in choices:
        expected, close = ", ".join(choices), nearest(found, choices)
        raise InputError("no such choice", where=where, found=found, expected=expected, nearest=close)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError("this is not a date", where="--as-of", found=text, expected="like 2026-01-31") from error


def print_retraining(summary: RetrainSummary, config_argument: str, console: Console) -> None:
    """All that the end of a retraining tells."""
    from workflows.cli.tables import columns
    from workflows.words import span

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    for note in summary.notes:
        say(note)
    if summary.rows:
        rows = [
            (
                *(row.task, row.decision, row.why, _version(row.champion), _version(row.challenger), _gain(row)),
                *(row.outcome, next_command(row, config_argument) or "-"),
            )
            for row in summary.rows
        ]
        console.print(columns(_HEADERS, rows))
    if summary.pretrain is not None:
        will = "would be" if summary.dry_run else "was"
        say(f"the shared prompt {will} trained again: {summary.pretrain}")
    for row in summary.rows:
        if row.told:
            say(f"{row.task}: {row.outcome}: {row.told}")
    if summary.dry_run:
        say(f"\nnothing was changed (--dry-run); next: deepprompt retrain {shlex.quote(config_argument)}")
    elif summary.run is None:
        say(f"\nnothing to do for {summary.as_of}")
    else:
        say(f"\ndone in {span(summary.seconds)} for {summary.as_of}; report: {summary.run.report}")


def next_command(row: RetrainRow, config_argument: str) -> str | None:
    """What to type about one task, ready for a shell."""
    config, task = shlex.quote(config_argument), shlex.quote(row.task)
    new = f"{task}@v{row.challenger}"
    commands = {
        "promoted": f"deepprompt registry history {task} --config {config}",
        "challenger": f"deepprompt registry promote {new} --config {config}",
        "rejected": f"deepprompt registry diff {task}@v{row.champion} {new} --config {config}",
        "failed": f"deepprompt retrain {config}",
    }
    return commands.get(row.outcome)


def _version(number: int | None) -> str:
    return "-" if number is None else f"v{number}"


def _gain(row: RetrainRow) -> str:
    if row.gain is None or row.interval is None:
        return "-"
    return f"{row.gain:+.3f} [{row.interval[0]:+.3f}, {row.interval[1]:+.3f}]"
