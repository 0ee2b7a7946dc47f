"""What the gate decided, carried out: aliases move, and the evidence stays with the versions it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.registry import PromptRegistry
from pipeline.registry.versions.lookup import CHALLENGER, CHAMPION
from pipeline.registry.versions.notes import note_version

SAME = "same"
"""The verdict on a version that the alias points to already."""
CONTENDS, ATTEMPTED, GATE = "contends", "attempted", "gate"
"""Notes on a version: the alias it is or was a contender for, when training last made it (UTC), the last verdict."""


@dataclass(frozen=True)
class Verdict:
    """What the gate decided for one alias of one task.

    Args:
        decision: promote, challenger, reject or same. reason: why, in words.
        evidence: the comparison, plain; empty where there was none. split: the rows'.
    """

    task: str
    alias: str
    decision: str
    reason: str
    version: int
    champion: int | None
    split: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def carry_out(registry: PromptRegistry, verdicts: Sequence[Verdict], notes: Mapping[str, str], *, reason: str) -> None:
    """Does what was decided for one task. The notes come last: whoever finds them knows that all of it was done.

    Args:
        notes: for every version of these verdicts. reason: on whose behalf, for the audit trail.

    Raises:
        InputError: an alias does not point any more to what was compared.
    """
    challengers = registry.aliases(CHALLENGER)
    for one in verdicts:
        why, evidence = f"{reason}: {one.reason}", {**one.evidence, "decision": one.decision}
        if one.decision == "promote":
            registry.promote(one.task, one.version, one.alias, reason=why, evidence=evidence, expected=one.champion)
        elif (one.decision, one.alias) == (CHALLENGER, CHAMPION) and challengers.get(one.task) != one.version:
            registry.promote(one.task, one.version, CHALLENGER, reason=why, evidence=evidence)
        verdict = {} if one.decision == SAME else {GATE: json.dumps(one.as_json())}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        note_version(registry, one.task, one.version, {**notes, **verdict, CONTENDS: one.alias, ATTEMPTED: now})
