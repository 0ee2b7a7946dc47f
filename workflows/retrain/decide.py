"""Which tasks are trained again, and why: from what the registry knows of each and what it would follow from now.

Nothing here touches the registry, a file or a backbone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pipeline.registry.versions.lookup import CHAMPION
from pipeline.registry.versions.notes import Noted
from workflows.config.operating import RetrainSettings
from workflows.stages.follows import FOLLOWS, changed_parts
from workflows.stages.verdicts import ATTEMPTED, CONTENDS

AS_OF = "as_of"
"""The note on a version: the date that it was last trained for."""


@dataclass(frozen=True)
class Decision:
    """What is to be done about one task.

    Args:
        adapt: whether it is adapted anew. why: in words. champion: its version, if it has one.
    """

    task: str
    adapt: bool
    why: str
    champion: int | None = None


@dataclass(frozen=True)
class Known:
    """What the registry knows of one task.

    Args:
        champion: the version in use. attempt: the winner that training made last, whatever the gate said of it.
    """

    champion: Noted | None = None
    attempt: Noted | None = None

    @classmethod
    def of(cls, versions: Sequence[Noted]) -> Known:
        champion = next((one for one in versions if CHAMPION in one.aliases), None)
        winners = [one for one in versions if one.notes.get(CONTENDS) == CHAMPION]
        attempt = max(winners, key=lambda one: (one.notes.get(ATTEMPTED, ""), one.version), default=champion)
        return cls(champion, attempt)


@dataclass(frozen=True)
class Fresh:
    """How the champion does on the present dev rows.

    Args:
        recorded: its dev score when it was trained. now: on the present rows. Both None where they need not be, or
            could not be, told; then `why` says why, and `cannot` whether it is because it cannot answer these rows.
    """

    recorded: float | None = None
    now: float | None = None
    why: str = ""
    cannot: bool = False


def decide(
    task: str,
    known: Known,
    parts: Mapping[str, str],
    settings: RetrainSettings,
    conditions: Collection[str],
    as_of: date,
    fresh: Fresh | None = None,
) -> Decision:
    """The decision on one task; the first of the conditions that holds is told.

    Args:
        parts: what the task's prompts would follow from now. fresh: must be given for the condition "degraded".
    """
    champion, number = known.champion, known.champion.version if known.champion else None
    if champion is None:
        return Decision(task, True, "it has no champion yet")
    kept = []
    for condition in conditions:
        holds, why = True, "asked for (always)"
        if condition == "changed":
            holds, why = _changed(known, parts)
        elif condition == "stale":
            holds, why = _stale(known, parts, settings.max_age, as_of)
        elif condition == "degraded":
            assert fresh is not None
            holds, why = _degraded(fresh, settings.max_drop)
        if holds:
            return Decision(task, True, why, number)
        kept.append(why)
    return Decision(task, False, "; ".join(kept), number)


def _changed(known: Known, parts: Mapping[str, str]) -> tuple[bool, str]:
    assert known.attempt is not None
    told = known.attempt.notes.get(FOLLOWS)
    if told is None:
        return True, f"v{known.attempt.version} does not say what it was trained from"
    changed = changed_parts(json.loads(told), dict(parts))
    if changed:
        return True, f"changed since v{known.attempt.version}: {', '.join(changed)}"
    return False, f"nothing changed since v{known.attempt.version}{_not_passed(known)}"


def _stale(known: Known, parts: Mapping[str, str], limit: int, as_of: date) -> tuple[bool, str]:
    assert known.champion is not None and known.attempt is not None
    days = (as_of - trained_on(known.champion)).days
    if days <= limit:
        return False, f"v{known.champion.version} is {_days(days)} old, max_age is {limit}"
    attempt = (as_of - trained_on(known.attempt)).days
    if known.attempt != known.champion and attempt <= limit and not _changed(known, parts)[0]:
        # Training is a function of these parts: it would make the very same prompt.
        told = f"v{known.attempt.version} was trained {_days(attempt)} ago from the same"
        return False, f"v{known.champion.version} is {_days(days)} old, but {told}{_not_passed(known)}"
    return True, f"stale: v{known.champion.version} is {_days(days)} old, max_age is {limit}"


def _degraded(fresh: Fresh, limit: float) -> tuple[bool, str]:
    if fresh.now is None or fresh.recorded is None:
        return fresh.cannot, fresh.why
    fell = fresh.recorded - fresh.now
    told = f"dev {fresh.recorded:.3f} when trained, {fresh.now:.3f} on the present rows"
    if fell > limit:
        return True, f"degraded: {told}, max_drop is {limit:g}"
    return False, f"not degraded: {told}"


def _not_passed(known: Known) -> str:
    return "" if known.attempt == known.champion else " (which is not the champion)"


def trained_on(version: Noted) -> date:
    """The day that a version was last trained for, or on."""
    told = [version.created.date()]
    if ATTEMPTED in version.notes:
        told.append(datetime.fromisoformat(version.notes[ATTEMPTED]).astimezone(UTC).date())
    if AS_OF in version.notes:
        told.append(date.fromisoformat(version.notes[AS_OF]))
    return max(told)


def _days(days: int) -> str:
    return f"{max(0, days)} day{'' if days == 1 else 's'}"
