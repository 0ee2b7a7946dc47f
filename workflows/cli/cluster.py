"""`deepprompt submit`: the same run on a Ray cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from workflows.cli.options import ConfigArgument, JsonOption, SetOption, print_json

if TYPE_CHECKING:
    from workflows.config.settings import Config


def submit(
    config: ConfigArgument,
    address: Annotated[
        str, typer.Option("--address", metavar="URL", help="The cluster's dashboard, http://host:8265.")
    ],
    changes: SetOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the job is sent.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Send a run to a Ray cluster as a job and follow its log. The same run sent twice is one job."""
    from cluster.submit import submit as submit_job
    from workflows.config.load import find_config, load_config
    from workflows.stages.graph import code_version

    settings = load_config(config, changes or ())  # mistakes are told here, not by a job on the cluster
    arguments = [word for change in (*(changes or ()), *_absolute(settings, address)) for word in ("--set", change)]
    result = submit_job(
        find_config(config),
        address=address,
        arguments=arguments,
        follow=not detach,
        on_line=lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True),
        code_version=code_version(),
    )
    if as_json:
        print_json(result.as_json())
    elif detach:
        typer.echo(result.submission_id)
    return result.exit_code


def _absolute(settings: Config, address: str) -> list[str]:
    """On this machine's own cluster, the run keeps the places it would have here; elsewhere they mean nothing."""
    host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
    if host not in ("localhost", "127.0.0.1", "::1"):
        return []
    uri = settings.registry.uri
    places = [f"storage={Path(settings.storage).absolute()}"]
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        places.append(f"registry.uri=sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}")
    return places
