"""The command line `deepprompt`.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 the user's input is wrong, 3 some
tasks failed and the rest are done, 130 stopped. Only what a command needs is imported, and only when it runs.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import pipeline
from pipeline.errors import InputError, nearest
from workflows.cli import cluster as cli_cluster
from workflows.cli import compare as cli_compare
from workflows.cli import doctor as cli_doctor
from workflows.cli import predict as cli_predict
from workflows.cli import registry as cli_registry
from workflows.cli import report as cli_report
from workflows.cli import retrain as cli_retrain
from workflows.cli import run as cli_run
from workflows.cli import schedule as cli_schedule
from workflows.cli import serve as cli_serve
from workflows.cli.console import LoggedError, default_log_file, log_traceback

DONE, FAILED, BAD_INPUT, PARTLY, STOPPED = 0, 1, 2, 3, 130

# Depending on its version Typer has its own click or uses the installed one: this is the base of either's errors.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="deepprompt",
    help="Soft prompts for frozen language models: pretrain, adapt, ensemble, register, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("plan")(cli_run.plan)
app.command("run")(cli_run.run)
app.command("status")(cli_run.status)
app.command("report")(cli_report.report)
app.command("compare")(cli_compare.compare)
app.command("predict")(cli_predict.predict)
app.command("retrain")(cli_retrain.retrain)
app.command("submit")(cli_cluster.submit)
app.command("jobs")(cli_cluster.jobs)
app.command("logs")(cli_cluster.logs)
app.command("stop")(cli_cluster.stop)
app.command("schedule")(cli_schedule.schedule)
app.command("rayjob")(cli_schedule.rayjob)
app.command("serve")(cli_serve.serve)
app.command("doctor")(cli_doctor.doctor)
app.add_typer(cli_registry.app, name="registry")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepprompt {pipeline.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before any command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; no error ever reaches the user as a traceback."""
    _find_own_tools()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="deepprompt", standalone_mode=False)
        sys.stdout.flush()
        if code == STOPPED:  # Typer's own way of telling of an interruption, in some of its versions
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except InputError as error:
        return _say(error.message, BAD_INPUT)
    except _UsageError as error:
        return _say(_usage(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _say("stopped; the same command continues where it stopped", STOPPED)
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except LoggedError as error:
        return _say(f"{error}\nthe whole story: {error.log_file}", FAILED, cause=error.__cause__)
    except Exception as error:
        log_file = default_log_file()
        log_traceback(error, log_file)
        return _say(f"{type(error).__name__}: {error}\nthe whole story: {log_file}", FAILED, cause=error)


def _say(message: str, code: int, cause: BaseException | None = None) -> int:
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        message, code = f"no space is left on the disk; free some room and repeat the command\n{message}", BAD_INPUT
    lines = message.splitlines() or [""]
    more = len(lines) > 1 and code == BAD_INPUT and cause is None
    text = f"error: {len(lines)} problems\n  " + "\n  ".join(lines) if more else "error: " + "\n".join(lines)
    print(text if code != STOPPED else message, file=sys.stderr, flush=True)
    return code


def _usage(error: Any) -> str:
    """What was wrong with the command line, the nearest valid option or command, and where help is."""
    context, wrong = getattr(error, "ctx", None), getattr(error, "option_name", None)
    text = error.format_message().rstrip(".") or "a command is missing"
    if context is None:
        return str(text)
    if wrong is not None:
        choices = [name for parameter in context.command.params for name in parameter.opts]
        text = InputError("there is no such option", found=wrong, nearest=nearest(wrong, [*choices, "--help"])).message
    return f"{text}{' ' if text.endswith('?') else '; '}see `{context.command_path} --help`"


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _find_own_tools() -> None:
    """Ninja lies beside the interpreter; DeepSpeed looks on PATH, which has it in an activated environment only."""
    own = str(Path(sys.executable).parent)
    paths = os.environ.get("PATH", "").split(os.pathsep)
    if own not in paths:
        os.environ["PATH"] = os.pathsep.join([*paths, own])


if __name__ == "__main__":
    sys.exit(main())
