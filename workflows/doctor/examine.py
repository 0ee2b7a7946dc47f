"""`deepprompt doctor`: is this machine fit for a run, and if not, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pipeline.errors import InputError
from workflows.doctor.checks import CHECKS, Finding, Patient

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def examine(patient: Patient) -> dict[str, Finding]:
    """Every check's finding, by name. A check that itself breaks has failed; the others go on."""
    findings: dict[str, Finding] = {}
    for name, check in CHECKS.items():
        try:
            findings[name] = check(patient)
        except Exception as error:  # the doctor must not fall ill
            findings[name] = Finding("fail", f"{type(error).__name__}: {error}")
    return findings


def healthy(findings: Mapping[str, Finding]) -> bool:
    """Whether nothing has failed; warnings do not count."""
    return all(finding.status != "fail" for finding in findings.values())


def as_rows(findings: Mapping[str, Finding]) -> list[dict[str, Any]]:
    """The findings as plain data."""
    return [
        {"check": name, "status": finding.status, "found": finding.found, "advice": finding.advice}
        for name, finding in findings.items()
    ]


def as_table(findings: Mapping[str, Finding]) -> Table:
    """The findings for people."""
    table = Table(box=None, pad_edge=False)
    for column in ("check", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for name, finding in findings.items():
        colour = _COLOURS[finding.status]
        table.add_row(name, f"[{colour}]{finding.status}[/]", _plain(finding.found), _plain(finding.advice))
    return table


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def compile_ahead() -> str:
    """Compiles what DeepSpeed would compile at the first sharded run, and loads it.

    Returns:
        What was done, in words.

    Raises:
        InputError: DeepSpeed or the compiler is missing.
    """
    for name in ("compiler", "deepspeed"):
        finding = CHECKS[name](Patient())
        if finding.status != "ok":
            raise InputError(f"{name}: {finding.found}", hint=finding.advice)
    from deepspeed.comm.torch import build_shm_op

    if build_shm_op() is None:
        return "DeepSpeed compiles nothing ahead on this machine"
    return "DeepSpeed's operator for processors is compiled"
