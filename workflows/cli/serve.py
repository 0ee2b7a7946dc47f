"""`deepprompt serve`: the champions over HTTP."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.errors import InputError
from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigOption, PrefixOption, RegistryOption, open_registry

if TYPE_CHECKING:
    from workflows.serve.start import Running

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; 0.0.0.0 is everywhere.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8000,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, help="Copies of the backbone; they share the cores.")
    ] = 1,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="DEEPPROMPT_SERVE_TOKEN", show_envvar=True, help="Bearer token to ask for."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the backbone is now, when its folder has moved.")
    ] = None,
    poll: Annotated[float, typer.Option("--poll", min=0.1, help="Seconds between looks at the registry.")] = 2.0,
    cpus: Annotated[
        float | None, typer.Option("--cpus", min=0.01, help="Cores of a replica; an equal share if left out.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="A Ray cluster to serve on, from its head node: auto; else a private one."),
    ] = None,
    rows: Annotated[int, typer.Option("--max-rows", min=1, help="Rows of one request.")] = 64,
    characters: Annotated[int, typer.Option("--max-chars", min=1, help="Characters of one row.")] = 20_000,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Rows that may wait per replica.")] = 1024,
) -> int:
    """Serve every task's champion over HTTP, and a page to try them; promotions are picked up while it runs."""
    from workflows.serve.limits import Limits
    from workflows.serve.settings import Settings
    from workflows.serve.start import serving

    if token is not None and not token.strip():
        raise InputError("the token is empty", where="--token", expected="a secret, or no --token at all")
    if rows > queue:
        raise InputError("a request may not be larger than the queue", where="--queue", found=queue, expected=rows)
    opened = open_registry(registry, prefix, config)
    log_file = default_log_file()
    with silence_libraries(log_file) as streams:
        settings = Settings(
            uri=opened.uri,
            prefix=opened.prefix,
            model=backbone,
            poll=poll,
            token_sha256=None if token is None else hashlib.sha256(token.strip().encode()).hexdigest(),
            limits=Limits(rows, characters, queue),
        )
        say = Console(file=streams.err)
        if host not in LOOPBACK and token is None:
            say.print(f"[yellow]warning:[/] whoever reaches {host}:{port} may ask; --token asks for a secret")
        with ExitStack() as stack:
            with say.status("starting Ray and loading the backbone (half a minute)"):
                running = stack.enter_context(
                    serving(
                        settings,
                        host=host,
                        port=port,
                        replicas=replicas,
                        cpus=cpus,
                        address=address,
                        token=token,
                        log_file=log_file,
                    )
                )
            _announce(say, running, token is not None)
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
            say.print("stopping when the last requests are answered")
    return 0


def _announce(say: Console, running: Running, token: bool) -> None:
    """What answers, where, and what to type next."""
    from workflows.cli.tables import columns

    tasks = running.tasks["tasks"]
    rows = [
        [one["task"], *(one[alias] and one[alias]["version"] for alias in ("champion", "challenger"))] for one in tasks
    ]
    if rows:
        say.print(columns(["task", "champion", "challenger"], rows))
    else:
        say.print("no task has a champion yet; the first one promoted is served at once")
    for name, why in running.tasks["refused"].items():
        say.print(f"not served: {name}: {why}", style="yellow", markup=False)
    say.print(
        f"serving at {running.url} (a page to try it; /openapi.json, /metrics); Ctrl-C stops",
        markup=False,
        soft_wrap=True,
    )
    asked = next((one for one in tasks if one["champion"]), None)
    if asked is not None:
        fields = {"text" if field == "tokens" else field: "…" for field in asked["champion"]["fields"]}
        row = json.dumps({"rows": [{"task": asked["task"], **fields}]}, ensure_ascii=False)
        secret = " -H 'Authorization: Bearer TOKEN'" if token else ""
        say.print(f"curl {running.url}/v1/predict{secret} --json '{row}'", markup=False, soft_wrap=True)
