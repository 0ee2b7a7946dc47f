"""`deepprompt submit`, `jobs`, `logs` and `stop`: runs on a Ray cluster."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflows.cli.options import ConfigArgument, JsonOption, SetOption, print_json

if TYPE_CHECKING:
    from workflows.config.settings import Config

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="URL", help="The cluster's dashboard, http://host:8265; else RAY_API_SERVER_ADDRESS."
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="The cluster's token (others see it in the process list); else RAY_AUTH_TOKEN, the file that "
        "RAY_AUTH_TOKEN_PATH names, ~/.ray/auth_token.",
    ),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A job's name, as submit and jobs tell it.")]
FAILED = 1


def submit(
    config: ConfigArgument,
    address: AddressOption = None,
    changes: SetOption = None,
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the log to the end, or return when sent.")
    ] = True,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file", metavar="FILE", help="NAME=VALUE lines for the job; who sees the dashboard can see them."
        ),
    ] = None,
    shared: Annotated[
        list[Path] | None,
        typer.Option("--shared", metavar="FOLDER", help="Every node sees it under this path: nothing in it travels."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Send another job though this run has one that ended or hangs.")
    ] = False,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> int:
    """Send a run to a Ray cluster as a job and follow its log. The same run sent twice is one job."""
    from cluster.jobs.connect import connect, dashboard_address, on_this_machine
    from cluster.jobs.env_file import left_behind, read_env_file
    from cluster.jobs.submit import submit as submit_job
    from workflows.config.load import find_config, load_config, read_settings

    settings = load_config(config, changes or ())  # mistakes are told here, not by a job on the cluster
    env = read_env_file(env_file, os.environ) if env_file is not None else {}
    cluster = dashboard_address(address)
    near = on_this_machine(connect(cluster, token), cluster)
    changed = [*(changes or ()), *(_absolute(settings) if near else ())]
    behind = left_behind(_remote_places(settings), os.environ, env)
    if behind:
        _note(f"set here, but not for the job: {', '.join(behind)}; put into --env-file what it needs")
    sent: list[str] = []
    try:
        result = submit_job(
            find_config(config),
            address=cluster,
            config=read_settings(config, changed),
            env=env,
            shared=[*(shared or ()), *([Path("/")] if near else [])],  # its nodes see what we see: nothing need travel
            follow=wait,
            on_line=_line_printer(as_json),
            on_note=_note,
            on_sent=sent.append,
            token=token,
            anew=anew,
        )
    except KeyboardInterrupt:
        if sent:
            _note(f"job {sent[0]} goes on in the cluster; {_command('stop', sent[0], cluster)} stops it")
        raise
    if as_json:
        print_json(result.as_json())
    elif not wait:
        typer.echo(result.submission_id)
        _note(f"next: {_command('logs', result.submission_id, cluster)} --follow")
    else:
        _note(f"job {result.submission_id}: {result.status}")
    return result.exit_code


def jobs(
    address: AddressOption = None,
    everyone: Annotated[bool, typer.Option("--all", help="Jobs of other programs too.")] = False,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> int:
    """List a cluster's jobs: what runs, since when, how it ended."""
    from cluster.jobs.connect import connect, dashboard_address
    from cluster.jobs.manage import list_jobs

    cluster = dashboard_address(address)
    found = list_jobs(connect(cluster, token, on_note=_note))
    chosen = [job for job in found if everyone or job.run]
    if as_json:
        print_json([job.as_json() for job in chosen])
        return 0
    from workflows.cli.tables import columns, output
    from workflows.words import span

    console = output()
    rows = [
        (job.submission_id, job.run, job.status, job.exit_code, _clock(job.began), span(job.seconds), job.storage)
        for job in chosen
    ]
    if rows:
        console.print(columns(("job", "run", "status", "exit code", "began", "took", "results in"), rows))
    others = len(found) - len(chosen)
    more = f"; {others} of other programs (--all)" if others else ""
    console.print(f"\n{len(chosen)} jobs{more}", markup=False)
    if chosen:
        console.print(f"next: {_command('logs', chosen[0].submission_id, cluster)}", markup=False, soft_wrap=True)
    return 0


def logs(
    job: IdArgument,
    address: AddressOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it ends; the exit code is the job's.")] = False,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> int:
    """Print a job's log; with --follow to its end, however often the connection breaks."""
    from cluster.jobs.connect import connect, dashboard_address
    from cluster.jobs.follow import follow_job
    from cluster.jobs.manage import find_job, read_log
    from cluster.jobs.submit import exit_code

    client = connect(dashboard_address(address), token, on_note=_note)
    details = find_job(client, job)
    lines: list[str] = []
    if follow:
        details = follow_job(client, job, lines.append if as_json else _line_printer(False), _note)
    else:
        lines = read_log(client, job)
    status = str(details.status.value)
    if as_json:
        print_json({"submission_id": job, "status": status, "exit_code": exit_code(details), "lines": lines})
    elif follow:
        _note(f"job {job}: {status}")
    else:
        for line in lines:
            typer.echo(line)
    return exit_code(details) if follow else 0


def stop(
    job: IdArgument,
    address: AddressOption = None,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Until it has ended, or return when asked.")] = True,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> int:
    """Stop a job in good order: it keeps its checkpoints, and the same submit continues from them."""
    from cluster.jobs.connect import connect, dashboard_address
    from cluster.jobs.manage import stop_job

    client = connect(dashboard_address(address), token, on_note=_note)
    result = stop_job(client, job, wait=wait, on_note=_note)
    if as_json:
        print_json(result.as_json())
    else:
        typer.echo(f"{result.submission_id}: {result.said}")
    asked = not wait and result.before == "RUNNING"
    return 0 if result.stopped or asked else FAILED


def _absolute(settings: Config) -> list[str]:
    """On this machine's own cluster, the run keeps the places it would have here; elsewhere they mean nothing."""
    uri = settings.registry.uri
    places = [f"storage={Path(settings.storage).absolute()}"]
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        places.append(f"registry.uri=sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}")
    return places


def _remote_places(settings: Config) -> list[str]:
    """What the job reads from and writes to beyond its cluster."""
    data = [task.data.path for task in settings.tasks if task.data.path is not None]
    return [settings.registry.uri, *data, *("hub" for task in settings.tasks if task.data.hub is not None)]


def _line_printer(as_json: bool) -> Callable[[str], None]:
    """The log is the result, except where another program reads one."""
    return lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _command(verb: str, job: str, address: str) -> str:
    return shlex.join(["deepprompt", verb, job, "--address", address])


def _clock(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
