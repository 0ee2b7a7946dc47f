"""Each task's contenders on test, with intervals: the one prompt that dev chose, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows.report.drawing import Axis, Mark, axis, interval_row
from workflows.report.progress import done
from workflows.stages.graph import RunGraph
from workflows.summary import RunSummary, TaskRow

Ends = tuple[float, float]
CONTENDERS = {"winner": "one prompt", "ensemble": "ensemble", "distilled": "distilled", "from_scratch": "from scratch"}


@dataclass(frozen=True)
class Contender:
    """One way to answer a task, as test saw it.

    Args:
        name: a key of `CONTENDERS`. score: on test. ends: of its interval, None where none was computed.
        over: ends of the interval of its difference to the winner, on the same rows; None for the winner itself.
    """

    name: str
    score: float
    ends: Ends | None
    over: Ends | None


@dataclass(frozen=True)
class Standing:
    """A task's line of the leaderboard.

    Args:
        contenders: in the order of `CONTENDERS`, those that there are; an ensemble of nothing but the winner is none.
        gain: ends of the interval of the shared start's gain. test_rows: scored rows.
        prompts, votes: of the ensemble's members, the distinct and all. combine: how they vote.
        ensemble_dev: its dev score. step, steps: at which the winner was best, and how many it had.
    """

    row: TaskRow
    type: str
    contenders: Mapping[str, Contender]
    gain: Ends | None
    test_rows: int
    prompts: int
    votes: int
    combine: str | None
    ensemble_dev: float | None
    step: int | None
    steps: int

    @property
    def ensemble(self) -> Contender | None:
        """The ensemble, if there is one apart from the winner."""
        return self.contenders.get("ensemble")

    @property
    def distilled(self) -> Contender | None:
        """The prompt that learnt to answer as the ensemble, if there is one."""
        return self.contenders.get("distilled")


def leaderboard(graph: RunGraph, summary: RunSummary) -> list[Standing]:
    """The scored tasks."""
    return [_standing(graph, row) for row in summary.rows]


def _standing(graph: RunGraph, row: TaskRow) -> Standing:
    scores = done(graph, f"evaluate/{row.task}", "scores.json") or {}
    trained = done(graph, f"adapt/{row.task}", "trained.json")
    intervals = scores.get("intervals") or {}
    figures = {
        "winner": row.test,
        "ensemble": row.ensemble_test,
        "distilled": row.distilled_test,
        "from_scratch": row.from_scratch_test,
    }
    ensemble = scores.get("ensemble") or {}
    members: Sequence[int] = ensemble.get("members", ())
    apart = not {*members} <= {scores.get("winner", {}).get("number")}
    contenders = {
        name: Contender(name, score, _ends(intervals.get("scores"), name), _ends(intervals.get("over_winner"), name))
        for name, score in figures.items()
        if score is not None and (name != "ensemble" or apart)
    }
    winner = trained[scores["winner"]["number"]] if trained and scores else None
    return Standing(
        row=row,
        type=graph.tasks[row.task].spec.type,
        contenders=contenders,
        gain=_ends(intervals, "gain"),
        test_rows=len(graph.tasks[row.task].splits["test"]),
        prompts=len({*members}),
        votes=len(members),
        combine=ensemble.get("combine"),
        ensemble_dev=ensemble.get("dev"),
        step=None if winner is None else winner["step"],
        steps=graph.config.adapt_for(row.task).steps,
    )


def score_scale(standings: Iterable[Standing]) -> Axis:
    """One scale for all tasks' scores and intervals."""
    each = [one for standing in standings for one in standing.contenders.values()]
    return axis([value for one in each for value in (one.score, *(one.ends or ()))], ticks=5)


def contest(standing: Standing, scale: Axis) -> str:
    """A task's contenders on the scale, one below the other."""
    marks = [
        Mark(one.name.replace("_", "-"), one.score, one.ends, f"{CONTENDERS[one.name]} {one.score:.3f}")
        for one in standing.contenders.values()
    ]
    told = "; ".join(f"{CONTENDERS[one.name]} {one.score:.3f}" for one in standing.contenders.values())
    return interval_row(marks, scale, f"{standing.row.task}, {standing.row.metric} on test: {told}")


def _ends(intervals: Mapping[str, Any] | None, name: str) -> Ends | None:
    found = (intervals or {}).get(name)
    return None if found is None else (float(found["low"]), float(found["high"]))
