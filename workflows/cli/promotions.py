"""`deepprompt registry promote|rollback|history|diff`: moving aliases, and what was moved when."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.errors import InputError
from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigOption, JsonOption, PrefixOption, RegistryOption, open_registry, print_json

if TYPE_CHECKING:
    from pipeline.registry import Promotion

Reference = Annotated[
    str, typer.Argument(metavar="TASK[@ALIAS]", help="TASK (its champion), TASK@ALIAS, TASK@latest or TASK@v3.")
]
Task = Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")]
AliasOption = Annotated[str, typer.Option("--alias", help="The alias to move.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; the history shows it.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who; user@host of this process by default.")]


def promote(
    reference: Reference,
    alias: AliasOption = "champion",
    reason: ReasonOption = "",
    by: ByOption = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="A JSON file with what the decision rests on; kept with it.")
    ] = None,
    expected: Annotated[
        str | None,
        typer.Option("--expected", metavar="VERSION|none", help="Refuse unless the alias points there now."),
    ] = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Let an alias point at a version, and write down who did and why: promote intent@v3 --reason "+2 on dev"."""
    from pipeline.registry import UNSPECIFIED

    believed = UNSPECIFIED if expected is None else _version(expected)
    proof = None if evidence is None else _read_json(evidence)
    with silence_libraries(default_log_file()):
        opened = open_registry(registry, prefix, config)
        found = opened.resolve(reference)
        moved = opened.promote(
            found.task, found.version, alias, by=by, reason=reason, evidence=proof, expected=believed
        )
    _tell(moved, as_json, after=f"deepprompt registry rollback {found.task}{_alias(alias)}")
    return 0


def rollback(
    task: Task,
    alias: AliasOption = "champion",
    reason: ReasonOption = "",
    by: ByOption = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Let an alias point at the version before, as the history tells; twice goes back twice."""
    with silence_libraries(default_log_file()):
        moved = open_registry(registry, prefix, config).rollback(task, alias=alias, by=by, reason=reason)
    _tell(moved, as_json, after=f"deepprompt registry promote {task}@v{moved.previous}{_alias(alias)}")
    return 0


def history(
    task: Task,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Every move of a task's aliases, the newest first: which version was champion when, by whom, why."""
    from workflows.cli.tables import columns, output

    with silence_libraries(default_log_file()):
        opened = open_registry(registry, prefix, config)
        moves = opened.history(task)
        strays = {move.alias: opened.aliases(move.alias).get(task) for move in moves}
    if as_json:
        print_json([asdict(move) for move in moves])
    elif not moves:
        Console(stderr=True).print(f"no alias of {task} was moved by deepprompt yet", markup=False)
    else:
        headers = ["at", "alias", "version", "from", "how", "by", "reason", "evidence"]
        rows = [
            [m.at[:19], m.alias, m.version, m.previous, m.kind, m.by, m.reason, ", ".join(m.evidence or ())]
            for m in moves
        ]
        output().print(columns(headers, rows))
    for alias, now in strays.items():
        last = next(move for move in moves if move.alias == alias)
        if now != last.version:
            place = "nowhere" if now is None else f"to version {now}"
            note = f"{alias} points {place}: it was moved by other means than deepprompt, or a promotion was cut off"
            Console(stderr=True).print(f"note: {note}", markup=False, soft_wrap=True)
    return 0


def diff(
    a: Reference,
    b: Reference,
    everything: Annotated[bool, typer.Option("--all", help="What is the same, too.")] = False,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """What two versions differ in: metrics, settings, data, backbone, lineage, sizes."""
    from workflows.cli.tables import columns, output

    with silence_libraries(default_log_file()):
        found = open_registry(registry, prefix, config).diff(a, b)
    lines = found.lines if everything else found.different
    if as_json:
        print_json({"a": found.a, "b": found.b, "lines": [{**asdict(line), "same": line.same} for line in lines]})
    elif not lines:
        typer.echo(f"{found.a} and {found.b} are the same")
    else:
        rows = [[line.part, line.key, _brief(line.a), _brief(line.b), _change(line.change)] for line in lines]
        output().print(columns(["part", "what", found.a, found.b, "change"], rows))
    return 0


def _tell(moved: Promotion, as_json: bool, *, after: str) -> None:
    """What happened, and how to take it back."""
    if as_json:
        print_json(asdict(moved))
        return
    was = "" if moved.previous is None else f", it was {moved.previous}"
    typer.echo(f"{moved.task}@{moved.alias} is version {moved.version}{was}")
    if moved.previous not in (None, moved.version):
        Console(stderr=True).print(f"to take it back: {after}", markup=False, soft_wrap=True)


def _alias(alias: str) -> str:
    return "" if alias == "champion" else f" --alias {alias}"


def _version(text: str) -> int | None:
    """The version that --expected names."""
    if text == "none":
        return None
    number = text.removeprefix("v")
    if not number.isdecimal():
        raise InputError("this is no version", where="--expected", found=text, expected="a number such as 3, or none")
    return int(number)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror})", where=str(path)) from error
    except ValueError as error:
        raise InputError(f"the file is not JSON ({error})", where=str(path)) from error
    if not isinstance(content, dict):
        raise InputError("not a JSON object", where=str(path), found=type(content).__name__)
    return content


def _brief(value: Any) -> Any:
    """A hash by its beginning: whether two differ is what is asked."""
    return f"{value[:12]}…" if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40,}", value) else value


def _change(value: float | None) -> str:
    return "" if not value else f"{value:+.4g}"
