"""Who moved an alias, when and why. MLflow keeps only where an alias points now (mlflow#2169); this is the rest.

Every decision is a version of the model `<prefix>-audit`: MLflow numbers the versions of a model one after the other,
whoever asks for them, and that is the only thing in it that two promoters cannot both get. A decision names the one it
follows; of two that follow the same, the lower number counts and the other is void. So the decisions of an alias are
one chain, without a lock that a dead process could leave behind, and without a clock.

Beside it, for people: a run in the experiment `<prefix>-audit` with the decision and its evidence as files, and a tag
`deepprompt.promotion.NUMBER` on the version that was chosen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import InputError
from pipeline.registry.connection import PASSING, insist
from pipeline.registry.versions.lookup import TAG, all_versions, ensure_experiment, ensure_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

Kind = Literal["promote", "rollback"]

_RECORD, _SETTLED, _KEY = TAG + "promotion", TAG + "settled", TAG + "key"
_EVIDENCE, _PROMOTION = "evidence.json", "promotion.json"
_SHORT = 20_000  # characters of evidence that the record itself holds; MySQL's text columns end at 65,535 bytes
_GRACE = 60.0  # seconds that a decision may take from its record to its alias
_ABOUT = (
    "Append-only log of deepprompt: each version is one move of an alias. `deepprompt registry history` reads it. "
    "Not a model; deleting it deletes the history."
)


@dataclass(frozen=True)
class Promotion:
    """One move of an alias.

    Args:
        task: whose. alias: which. version: where it points since. previous: where it pointed; None for nowhere.
        at: when, ISO in UTC. by: who. reason: why, as they said. evidence: what the decision rests on, plain data.
        kind: a rollback goes to the version before, a promotion anywhere.
    """

    task: str
    alias: str
    version: int
    previous: int | None
    at: str
    by: str
    reason: str = ""
    evidence: Mapping[str, Any] | None = None
    kind: Kind = "promote"


@dataclass(frozen=True)
class Decision:
    """A promotion in the log.

    Args:
        number: its place. follows: the place of the decision of the same alias that was the last one known; 0 for none.
        key: its own, by which its promoter finds it. settled: its promoter has seen the alias follow.
        since: seconds since it was made. run_id: where its files are. long: the evidence is only in those.
    """

    number: int
    follows: int
    key: str
    promotion: Promotion
    settled: bool = False
    since: float = 0.0
    run_id: str | None = None
    long: bool = False


@dataclass(frozen=True)
class Chain:
    """The decisions that count of one alias, oldest first."""

    decisions: tuple[Decision, ...] = ()

    @property
    def head(self) -> int:
        """The number of the last decision; 0 for none."""
        return self.decisions[-1].number if self.decisions else 0

    @property
    def version(self) -> int | None:
        """Where the alias points by the last decision."""
        return self.decisions[-1].promotion.version if self.decisions else None

    @property
    def moving(self) -> bool:
        """Somebody may be between writing a decision and moving the alias."""
        return any(not one.settled and one.since < _GRACE for one in self.decisions)

    def find(self, key: str) -> Decision | None:
        """The decision with this key, if it counts."""
        return next((one for one in self.decisions if one.key == key), None)

    def before(self, version: int | None) -> int | None:
        """The version that `version`, the present one, came after: going back twice goes back two decisions."""
        way: list[int | None] = []
        for one in self.decisions:
            told = one.promotion
            if not way or way[-1] != told.previous:
                way.append(told.previous)  # the alias was moved by other means
            if told.kind == "rollback":
                way = [*_until(way[:-1], told.version), told.version]
            elif told.version != way[-1]:
                way.append(told.version)
        if way and way[-1] != version:
            way.append(version)
        return way[-2] if len(way) > 1 else None


def _until(way: list[int | None], version: int) -> list[int | None]:
    """What came before the last mention of a version."""
    while way and way.pop() != version:
        pass
    return way


def chain_of(decisions: Iterable[Decision]) -> Chain:
    """The decisions that count, of all that were written for one alias."""
    counted: list[Decision] = []
    for one in sorted(decisions, key=lambda decision: decision.number):
        if one.follows == (counted[-1].number if counted else 0):
            counted.append(one)
    return Chain(tuple(counted))


class AuditLog:
    """The log of one prefix.

    Args:
        client: open. prefix: of the registry. place: where its files go; None for the server's choice.
    """

    def __init__(self, client: MlflowClient, prefix: str, place: str | None) -> None:
        self.client = client
        self.name = f"{prefix}-audit"
        self.place = place

    def read(self, task: str, alias: str) -> Chain:
        """The chain of one alias."""
        return self.chains(task).get(alias, Chain())

    def chains(self, task: str) -> dict[str, Chain]:
        """Alias → its chain, of one task. One query."""
        found: dict[str, list[Decision]] = {}
        for version in all_versions(self.client, self.name, f"tags.`{TAG}task` = '{task}'"):
            if _RECORD not in version.tags:
                continue  # a void one that its promoter takes away while we look: MLflow reads tags after versions
            record = json.loads(version.tags[_RECORD])
            about, rest = record.pop("promotion"), record
            since = time.time() - version.creation_timestamp / 1000
            run_id, settled = version.run_id or None, _SETTLED in version.tags
            decision = Decision(
                int(version.version), **rest, promotion=Promotion(**about), settled=settled, since=since, run_id=run_id
            )
            found.setdefault(decision.promotion.alias, []).append(decision)
        return {alias: chain_of(decisions) for alias, decisions in found.items()}

    def begin(self, promotion: Promotion, key: str) -> tuple[str, str]:
        """A run for a decision's files, the evidence in it; nothing is decided yet.

        Returns:
            The id of the run and its artifacts' address.
        """
        experiment = ensure_experiment(self.client, self.name, self.place)
        name = f"{promotion.kind} {promotion.task}@{promotion.alias} v{promotion.version}"
        tags = {TAG + part: getattr(promotion, part) for part in ("task", "alias", "by", "reason", "kind")}
        run = self.client.create_run(experiment, tags={**tags, _KEY: key}, run_name=name)
        if promotion.evidence is not None:
            self._put(run.info.run_id, _EVIDENCE, promotion.evidence)
        return str(run.info.run_id), str(run.info.artifact_uri)

    def append(self, promotion: Promotion, follows: int, key: str, run: tuple[str, str]) -> int | None:
        """Writes a decision. Whether it counts is known when the chain is read again.

        Returns:
            Its number; None where so many write at once that MLflow has given up, or its answer was lost.
        """
        from mlflow.exceptions import MlflowException

        if not follows:
            ensure_model(self.client, self.name, _ABOUT)
        long = promotion.evidence is not None and len(json.dumps(promotion.evidence)) > _SHORT
        plain = replace(promotion, evidence=None) if long else promotion
        record = {"promotion": asdict(plain), "follows": follows, "key": key, "long": long}
        tags = {_RECORD: json.dumps(record), TAG + "task": promotion.task, TAG + "alias": promotion.alias}
        try:
            made = self.client.create_model_version(self.name, run[1], run_id=run[0], tags=tags)
        except MlflowException as error:
            if error.error_code in PASSING:
                return None
            raise
        return int(made.version)

    def void(self, number: int) -> None:
        """Takes away a decision that does not count."""
        self.client.delete_model_version(self.name, str(number))

    def settle(self, name: str, decision: Decision) -> None:
        """The alias has followed: tells it in the log, on the version itself, and in the run."""
        told, plain = decision.promotion, asdict(decision.promotion)
        record = json.dumps({**plain, "evidence": None, "run_id": decision.run_id})
        tag = f"{TAG}promotion.{decision.number}"
        insist(self.client.set_model_version_tag, name, str(told.version), tag, record)
        insist(self.client.set_model_version_tag, self.name, str(decision.number), _SETTLED, "true")
        if decision.run_id is not None:
            self._put(decision.run_id, _PROMOTION, {**plain, "number": decision.number, "follows": decision.follows})
            self.client.set_terminated(decision.run_id, "FINISHED")

    def abandon(self, run_id: str) -> None:
        """Ends the run of a decision that was not taken."""
        self.client.set_terminated(run_id, "KILLED")

    def whole(self, decision: Decision) -> Promotion:
        """A promotion with its evidence, fetched if it is long."""
        if not decision.long or decision.run_id is None:
            return decision.promotion
        with TemporaryDirectory() as scratch:
            path = Path(self.client.download_artifacts(decision.run_id, _EVIDENCE, scratch))
            return replace(decision.promotion, evidence=json.loads(path.read_bytes()))

    def _put(self, run_id: str, file: str, content: Any) -> None:
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / file
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            self.client.log_artifact(run_id, str(path))


def plain_evidence(evidence: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Evidence as it comes back: plain JSON.

    Raises:
        InputError: it holds what JSON cannot.
    """
    if evidence is None:
        return None
    try:
        plain: Mapping[str, Any] = json.loads(json.dumps(dict(evidence), allow_nan=False))
    except (TypeError, ValueError) as error:
        expected = "a mapping of text, finite numbers, lists and mappings"
        raise InputError(f"the evidence is not JSON ({error})", where="evidence", expected=expected) from error
    return plain
