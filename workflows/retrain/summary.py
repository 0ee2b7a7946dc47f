"""What a retraining came to: a row per task, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from workflows.retrain.survey import Survey
from workflows.summary import RunSummary


@dataclass(frozen=True)
class RetrainRow:
    """One task.

    Args:
        decision: "adapt", "keep" or "fail". why: in words.
        champion: its version before. challenger: the new one. gain, interval: as the gate found them.
        outcome: promoted, challenger, rejected, same, kept, failed; "would adapt" in a dry run. told: the gate's words.
        reference: what the next command is about.
    """

    task: str
    decision: str
    why: str
    champion: int | None = None
    challenger: int | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None
    outcome: str = "kept"
    told: str = ""


@dataclass(frozen=True)
class RetrainSummary:
    """A retraining's results.

    Args:
        as_of: the date it was for. conditions: those asked about. pretrain: why the shared prompt was trained again;
            `shared`: which one was there before. run: the run that did the work, if there was work.
    """

    name: str
    as_of: str
    conditions: tuple[str, ...]
    dry_run: bool
    key: str
    pretrain: str | None
    shared: int | None
    rows: tuple[RetrainRow, ...]
    seconds: float
    run: RunSummary | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 all well, 3 some tasks failed and the rest are well, 1 all failed."""
        failed = [row for row in self.rows if row.decision == "fail" or row.outcome == "failed"]
        return 0 if not failed else 3 if len(failed) < len(self.rows) else 1

    @property
    def nothing_done(self) -> bool:
        return self.run is None and not self.dry_run

    def as_json(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["run"] = None if self.run is None else self.run.as_json()
        return {**plain, "exit_code": self.exit_code}


_OUTCOMES = {"promote": "promoted", "challenger": "challenger", "reject": "rejected", "same": "same"}


def rows_of(found: Survey, run: RunSummary | None, dry_run: bool) -> tuple[RetrainRow, ...]:
    """A row per task: those that are kept or done, then those whose data is unsound."""
    rows = []
    for one in found.decisions:
        decision = "adapt" if one.adapt else "keep"
        row = RetrainRow(one.task, decision, one.why, one.champion)
        if one.adapt:
            row = _adapted(row, run, dry_run)
        rows.append(row)
    wanted = found.graph.config.adapt_tasks
    rows += [
        RetrainRow(task, "fail", problem.message.splitlines()[0], outcome="failed", told=problem.message)
        for task, problem in found.unsound.items()
        if task in wanted
    ]
    return tuple(rows)


def _adapted(row: RetrainRow, run: RunSummary | None, dry_run: bool) -> RetrainRow:
    if run is None:
        return replace(row, outcome="would adapt" if dry_run else "failed")
    versions: Mapping[str, Any] = {one.task: one.version for one in run.rows}
    version = versions.get(row.task)
    number = None if version is None else int(version)
    if row.task in run.failed:
        return replace(row, outcome="failed", told=run.failed[row.task], challenger=number)
    verdict = run.gate[row.task]
    evidence = verdict["evidence"]
    return replace(
        row,
        champion=verdict["champion"],
        challenger=number,
        gain=evidence.get("gain"),
        interval=tuple(evidence["interval"]) if "interval" in evidence else None,
        outcome=_OUTCOMES[verdict["decision"]],
        told=verdict["reason"],
    )
