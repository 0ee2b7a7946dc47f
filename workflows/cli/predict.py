"""`deepprompt predict`: JSON lines in, JSON lines out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import InputError, nearest, raise_all
from workflows.cli.console import default_log_file, silence_libraries
from workflows.cli.options import ConfigOption, PrefixOption, RegistryOption, open_registry
from workflows.cli.progress import Listener, show_progress

if TYPE_CHECKING:
    from pipeline.registry import PromptRegistry

QUIET_SECONDS = 2.0


def predict(
    reference: Annotated[
        str | None, typer.Argument(metavar="[TASK[@ALIAS]]", help="May be left out when every row names its task.")
    ] = None,
    registry: RegistryOption = None,
    prefix: PrefixOption = None,
    config: ConfigOption = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Where the backbone is now, when its folder has moved.")
    ] = None,
) -> int:
    """Answer rows of JSON lines from stdin; rows may name different tasks (key "task") and share batches."""
    rows = read_rows(sys.stdin.buffer, reference)
    with silence_libraries(default_log_file()) as streams, show_progress(streams.err) as listener:
        answers = _answers(rows, open_registry(registry, prefix, config), backbone, _after(QUIET_SECONDS, listener))
    for answer in answers:
        typer.echo(json.dumps(answer, ensure_ascii=False))
    return 0


def _after(seconds: float, listener: Listener) -> Callable[[int, int], None]:
    """Tells of rows that are answered, once it takes longer than so many seconds."""
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        if time.monotonic() - began > seconds:
            listener({"stage": "predict", "done": done, "total": total, "note": "rows"})

    return progress


def _answers(
    rows: list[dict[str, Any]], registry: PromptRegistry, model: str | None, on_rows: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    from pipeline.registry import Predictor, load_artifact, open_backbone

    if not rows:
        return []
    artifacts = {name: load_artifact(registry.get(name)) for name in dict.fromkeys(row["task"] for row in rows)}
    backbone = open_backbone(next(iter(artifacts.values())).manifest.backbone, model=model)
    return Predictor(backbone, artifacts).predict(rows, on_rows)


def read_rows(lines: Iterable[bytes], reference: str | None) -> list[dict[str, Any]]:
    """Rows to answer, each with its task; blank lines are passed over.

    Raises:
        InputErrors: lines that are not UTF-8, not JSON objects, or name no task, each with its number.
    """
    rows: list[dict[str, Any]] = []
    problems: list[InputError] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line, f"stdin:{number}", reference))
        except InputError as problem:
            problems.append(problem)
            if len(problems) == 10:
                break
    raise_all(problems)
    return rows


def _row(line: bytes, where: str, reference: str | None) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig").rstrip())
    except UnicodeDecodeError as error:
        raise InputError("the line is not UTF-8", where=where, found=f"byte 0x{line[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        what = f"the line is not JSON: {error.msg} (column {error.colno})"
        raise InputError(what, where=where, found=line.decode().strip()[:80]) from error
    if not isinstance(row, dict):
        raise InputError("the line is not a JSON object", where=where, found=row, expected='{"text": …}')
    task = row.get("task", reference)
    if task is None:
        close = "task" if nearest("task", row) else None
        hint = "name a task on the command line, or in every row"
        raise InputError("the row names no task", where=where, found=", ".join(row), nearest=close, hint=hint)
    if not isinstance(task, str):
        raise InputError("the task is not text", where=where, found=task)
    return {**row, "task": task}
