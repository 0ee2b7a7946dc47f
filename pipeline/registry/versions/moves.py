"""Moving an alias so that no promoter loses another's decision.

MLflow sets an alias whatever it pointed to. So a decision is first written to the audit log, which orders all of them,
and then carried out: the alias is set to what the last decision says, and the log read again, until nobody has decided
in between. Whoever sets the alias last has thus seen the last decision. A process that dies in between leaves an alias
that does not follow the log; until a minute has passed the next promoter sets it, later the alias itself is believed.
"""

from __future__ import annotations

import getpass
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import InputError
from pipeline.registry.connection import insist
from pipeline.registry.versions.audit import AuditLog, Chain, Kind, Promotion, plain_evidence
from pipeline.registry.versions.lookup import CHAMPION, TAG, known_aliases

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Unspecified(Enum):
    """The type of `UNSPECIFIED`."""

    UNSPECIFIED = "unspecified"


UNSPECIFIED: Final = Unspecified.UNSPECIFIED
"""Whatever the alias points to now is fine; None would mean that it points nowhere."""

_TRIES = 100
_REASON = 4000


@dataclass(frozen=True)
class Wish:
    """What somebody wants of an alias.

    Args:
        task: whose. name: of its registered model. alias: which. kind: promote or rollback.
        choose: the chain and the present version → the version to point to; raises InputError where there is none.
        by, reason, evidence: for the log. expected: the present version, as the caller believes.
    """

    task: str
    name: str
    alias: str
    kind: Kind
    choose: Callable[[Chain, int | None], int]
    by: str | None = None
    reason: str = ""
    evidence: Mapping[str, Any] | None = None
    expected: int | Unspecified | None = UNSPECIFIED


def move(client: MlflowClient, log: AuditLog, wish: Wish) -> Promotion:
    """Carries out a wish.

    Raises:
        InputError: the alias does not point where the caller believes; the evidence is no JSON; no version to go to.
            Nothing is changed then.
    """
    if len(wish.reason) > _REASON:
        raise InputError("the reason is too long", where="reason", found=wish.reason, expected=f"{_REASON} characters")
    evidence, by = plain_evidence(wish.evidence), wish.by or who()
    key, run = uuid.uuid4().hex, None
    for turn in range(_TRIES):
        chain, present = _standing(client, log, wish)
        if wish.kind == "rollback" and wish.expected is UNSPECIFIED:
            wish = replace(wish, expected=present)  # what came in between is not what was to be taken back
        if wish.expected is not UNSPECIFIED and wish.expected != present:
            if run is not None:
                log.abandon(run[0])
            # Who moved the alias since the log was read had written it down before: read again, it tells who.
            raise _conflict(wish, log.read(wish.task, wish.alias), present)
        version = wish.choose(chain, present)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        promotion = Promotion(wish.task, wish.alias, version, present, at, by, wish.reason, evidence, wish.kind)
        if run is None:
            # First what fails for those who may not change the model: nothing is written of them.
            about = f"{wish.kind} {wish.alias} at {at} by {by}"
            insist(client.set_model_version_tag, wish.name, str(version), f"{TAG}last_asked", about)
            run = log.begin(promotion, key)
        number = log.append(promotion, chain.head, key, run)
        chain = log.read(wish.task, wish.alias)
        mine = chain.find(key)
        if mine is not None:
            _carry_out(client, log, wish, chain)
            log.settle(wish.name, replace(mine, promotion=promotion))
            return promotion
        if number is not None:
            log.void(number)
        time.sleep(random.uniform(0, 0.05 * min(turn + 1, 10)))
    raise InputError(f"{_TRIES} other decisions came in between", where=f"{wish.task}@{wish.alias}", hint="try again")


def _standing(client: MlflowClient, log: AuditLog, wish: Wish) -> tuple[Chain, int | None]:
    """The decisions, and where the alias points: by itself, or by a decision that is just being carried out."""
    chain = log.read(wish.task, wish.alias)
    present = known_aliases(client.get_registered_model(wish.name)).get(wish.alias)
    if present != chain.version and chain.moving and chain.version is not None:
        chain = _carry_out(client, log, wish, chain)
        present = chain.version
    return chain, present


def _carry_out(client: MlflowClient, log: AuditLog, wish: Wish, chain: Chain) -> Chain:
    """Lets the alias follow the log until no decision came in between; gives the log as it then is."""
    while True:
        insist(client.set_registered_model_alias, wish.name, wish.alias, str(chain.version))
        after = log.read(wish.task, wish.alias)
        if after.head == chain.head:
            return after
        chain = after


def _conflict(wish: Wish, chain: Chain, present: int | None) -> InputError:
    last = chain.decisions[-1].promotion if chain.decisions else None
    if last is not None and last.version == present:
        why = f" ({last.reason})" if last.reason else ""
        hint = f"{last.by} made it version {last.version} at {last.at}{why}; look at it, then decide again"
    else:
        hint = "it was moved by other means than deepprompt; look at it, then decide again"
    return InputError(
        f"{wish.alias} was moved meanwhile",
        where=f"{wish.task}@{wish.alias}",
        found="no version" if present is None else f"version {present}",
        expected="no version" if wish.expected is None else f"version {wish.expected}",
        hint=hint,
    )


def the_version_before(chain: Chain, present: int | None, *, task: str, alias: str = CHAMPION) -> int:
    """Where a rollback goes.

    Raises:
        InputError: the history knows no version before the present one.
    """
    before = chain.before(present)
    if before is None:
        raise InputError(
            "the history knows no version before this one",
            where=f"{task}@{alias}",
            found="no version" if present is None else f"version {present}",
            hint=f"choose one: deepprompt registry promote {task}@v1 --alias {alias}",
        )
    return before


def who() -> str:
    """user@host of this process; the user's number where it has no name, as in a container."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
