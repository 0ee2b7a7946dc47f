"""What to do next: read off the figures, each piece with its evidence, and with the command where one does it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workflows.report.gains import Gain
from workflows.report.leaderboard import Standing
from workflows.report.progress import Missing
from workflows.stages.graph import RunGraph
from workflows.summary import RunSummary

_MOST = 5
_WIDE = 0.1
"""A test interval wider than this hides differences of the size that prompts usually make."""


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Args:
        do: in a few words. why: the evidence. command: ready for a shell, or None.
    """

    do: str
    why: str
    command: str | None = None


def advice(
    graph: RunGraph,
    summary: RunSummary,
    lacking: Sequence[Missing],
    standings: Sequence[Standing],
    found: Sequence[Gain],
) -> list[Advice]:
    """The most useful first, a handful at most."""
    config = shlex.quote(f"{summary.name}.yaml")
    told = [*_unfinished(summary, lacking, config), *_ensembles(standings, config), *_harm(standings, found)]
    told += [*_longer(graph, standings), *_steps(standings), *_more_rows(standings)]
    use = _use(standings, config)
    return [*told[: _MOST - len(use)], *use]


def _unfinished(summary: RunSummary, lacking: Sequence[Missing], config: str) -> list[Advice]:
    command = f"deepprompt run {config}"
    told = []
    if summary.failed:
        told.append(Advice("Mend what failed", f"{_names(summary.failed)}: the reason stands above", command))
    if lacking:
        told.append(Advice("Finish the run", "what is done is kept; the same command goes on", command))
    return told


def _ensembles(standings: Sequence[Standing], config: str) -> list[Advice]:
    """Where test leaves no doubt that several prompts, or the one that learnt from them, answer better."""
    told = []
    for kind, what in (("distilled", "the distilled prompt"), ("ensemble", "the ensemble")):
        better = [one.row.task for one in standings if _surely_better(one, kind)]
        if better:
            command = f"deepprompt predict {shlex.quote(f'{better[0]}@{kind}')} --config {config}"
            why = f"better than the one prompt on {_names(better)}; the whole interval of the difference is above zero"
            told.append(Advice(f"Use {what} where it pays", why, command))
    return told


def _surely_better(standing: Standing, kind: str) -> bool:
    one = standing.contenders.get(kind)
    return one is not None and one.over is not None and one.over[0] > 0


def _harm(standings: Sequence[Standing], found: Sequence[Gain]) -> list[Advice]:
    ends = {one.row.task: one.gain for one in standings}
    worse = [gain.task for gain in found if (end := ends.get(gain.task)) is not None and end[1] < 0]
    why = f"on {_names(worse)} scratch is better by the whole interval of the difference; dev chooses task by task"
    return [Advice("Keep the start from scratch in the search", why, None)] if worse else []


def _longer(graph: RunGraph, standings: Sequence[Standing]) -> list[Advice]:
    """Who won at the end of the range that was searched."""
    at_end = [one.row for one in standings if one.row.length == max(graph.config.adapt_for(one.row.task).lengths)]
    searched = [row for row in at_end if len(graph.config.adapt_for(row.task).lengths) > 1]
    if 2 * len(searched) < len(standings) or not searched:
        return []
    longest = max(row.length for row in searched)
    who = _names(row.task for row in searched)
    why = f"{len(searched)} of {len(standings)} tasks chose the longest that was tried ({longest}): {who}"
    return [Advice("Try longer prompts", f"{why}. adapt.lengths and prompt.length say how long", None)]


def _steps(standings: Sequence[Standing]) -> list[Advice]:
    still = [one.row.task for one in standings if one.steps and one.step == one.steps]
    if 2 * len(still) < len(standings) or not still:
        return []
    why = f"{len(still)} of {len(standings)} winners were best on dev at their very last step: {_names(still)}"
    return [Advice("Train longer", f"{why}. adapt.steps says how long", None)]


def _more_rows(standings: Sequence[Standing]) -> list[Advice]:
    wide = [
        one for one in standings if (ends := one.contenders["winner"].ends) is not None and ends[1] - ends[0] > _WIDE
    ]
    if not wide:
        return []
    fewest = min(one.test_rows for one in wide)
    who, half = _names(one.row.task for one in wide), 100 * _WIDE / 2
    why = f"on {who} the score is known to no better than ± {half:g} points ({fewest:,} rows)"
    return [Advice("Collect more test rows", why, None)]


def _use(standings: Sequence[Standing], config: str) -> list[Advice]:
    registered = [one.row.task for one in standings if one.row.version is not None]
    if not registered:
        return []
    command = f"deepprompt predict {shlex.quote(registered[0])} --config {config}"
    plural = "s are" if len(registered) > 1 else " is"
    return [
        Advice(
            "Use the prompts",
            f"{len(registered)} task{plural} in the registry; rows of many tasks share a batch",
            command,
        )
    ]


def _names(tasks: Iterable[str]) -> str:
    names = list(tasks)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
