"""Whether a new prompt may take the place of the one in use: both answered the same rows, what follows?

The difference of two scores is only as good as its rows: the paired bootstrap draws the rows anew, the same ones for
both, and tells how far the difference moves (Efron and Tibshirani 1993, section 16; Koehn 2004). Where a row is simply
right or wrong, McNemar's test (1947) looks at the rows that only one of the two has right. No tensors here, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pipeline.tasks.scoring.metrics import Scorer, score
from pipeline.tasks.scoring.resample import figures, row_counts

Decision = Literal["promote", "challenger", "reject"]
_LABEL_METRICS = ("accuracy", "macro_f1", "mcc")  # of one label per row, which is right or wrong
_AT_ONCE = 100  # draws in memory together: their table is [draws, R]


@dataclass(frozen=True)
class Discordant:
    """The rows that only one of the two has right, and McNemar's exact two-sided p: how likely so uneven a split is
    when both are equally good."""

    only_champion: int
    only_challenger: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """Two prompts on the same R rows.

    Args:
        metric: of both scores. rows: R. champion, challenger: their scores on all rows.
        gain: challenger less champion. interval: where it lies for `confidence` of all draws of R rows.
        mcnemar: None where a row is not simply right or wrong.
    """

    metric: str
    rows: int
    champion: float
    challenger: float
    gain: float
    interval: tuple[float, float]
    confidence: float
    resamples: int
    seed: int
    mcnemar: Discordant | None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True)
class Bounds:
    """What a new prompt must reach.

    Args:
        min_gain: it must be better by this much. max_loss: and worse by no more than this at the interval's lower end.
    """

    min_gain: float = 0.0
    max_loss: float = 0.02


def compare(
    metric: str,
    gold: Sequence[Any],
    champion: Sequence[Any],
    challenger: Sequence[Any],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    scorer: Scorer = score,
) -> Comparison:
    """Scores both on the same rows and bootstraps the difference over rows.

    Args:
        metric, gold: as `scorer` takes them, which is the task type's own `score` where it has one; champion and
            challenger are answers as it takes them.
        seed: draws the rows; the same seed gives the same interval.
    """
    ours, theirs = (scorer(metric, gold, answers)[metric] for answers in (challenger, champion))
    low, high = _interval(metric, gold, champion, challenger, confidence, resamples, seed, scorer)
    return Comparison(
        metric=metric,
        rows=len(gold),
        champion=theirs,
        challenger=ours,
        gain=ours - theirs,
        interval=(low, high),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        mcnemar=mcnemar(gold, champion, challenger) if _one_label(metric, gold) else None,
    )


def judge(found: Comparison, bounds: Bounds) -> tuple[Decision, str]:
    """The decision and why, in words.

    Promoted is what gains enough and is surely (to the interval's confidence) not worse than the bound allows.
    Rejected is what lost more than the bound allows, or is surely worse. Between the two these rows do not tell: the
    new prompt is kept as a challenger, and a person may look.
    """
    low, high = found.interval
    gained = f"{found.gain:+.4f} [{low:+.4f}, {high:+.4f}] on {found.rows} rows"
    if found.gain < -bounds.max_loss:
        return "reject", f"{gained}: worse by more than max_loss {bounds.max_loss:g}"
    if high < 0:
        return "reject", f"{gained}: worse, and not by chance"
    if found.gain < bounds.min_gain:
        return "challenger", f"{gained}: less than min_gain {bounds.min_gain:g}"
    if low < -bounds.max_loss:
        return "challenger", f"{gained}: these rows do not rule out a loss of more than max_loss {bounds.max_loss:g}"
    return "promote", gained


def _one_label(metric: str, gold: Sequence[Any]) -> bool:
    return metric in _LABEL_METRICS and not isinstance(gold[0], list | tuple)


def mcnemar(gold: Sequence[Any], champion: Sequence[Any], challenger: Sequence[Any]) -> Discordant:
    """McNemar's test, exact: the binomial one, because gates often see few discordant rows."""
    from scipy.stats import binomtest

    right = [(one == answer, other == answer) for answer, one, other in zip(gold, champion, challenger, strict=True)]
    ours = sum(new and not old for old, new in right)
    theirs = sum(old and not new for old, new in right)
    p = float(binomtest(ours, ours + theirs, 0.5).pvalue) if ours + theirs else 1.0
    return Discordant(only_champion=theirs, only_challenger=ours, p=p)


def _interval(
    metric: str,
    gold: Sequence[Any],
    champion: Sequence[Any],
    challenger: Sequence[Any],
    confidence: float,
    resamples: int,
    seed: int,
    scorer: Scorer,
) -> tuple[float, float]:
    """Percentiles of the difference over draws of as many rows, with replacement, the same for both."""
    draw = np.random.default_rng(seed)
    rows = len(gold)
    before, now = (row_counts(metric, gold, answers, scorer) for answers in (champion, challenger))
    differences: list[float] = []
    for _ in range(0, resamples, _AT_ONCE):
        many = min(_AT_ONCE, resamples - len(differences))
        times = draw.multinomial(rows, np.full(rows, 1 / rows), size=many)  # [many, R] how often each row is drawn
        if before is not None and now is not None:
            differences += (figures(metric, times @ now) - figures(metric, times @ before)).tolist()
            continue
        for one in times:
            drawn = np.repeat(np.arange(rows), one).tolist()
            picked = [gold[row] for row in drawn]
            old, new = (scorer(metric, picked, [each[row] for row in drawn])[metric] for each in (champion, challenger))
            differences.append(new - old)
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)
