"""The charts of the report, from what training left on disk: loss, dev curves, dev score against length, gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows.report.cells import best_by, cell_scores
from workflows.report.drawing import Axis, Line, Mark, axis, interval_axis, interval_row, line_chart, places
from workflows.report.gains import Gain


@dataclass(frozen=True)
class Search:
    """What the adapt stage of a task left: its candidates with their curves, and which one was chosen.

    Args:
        candidates: the entries of trained.json. winner: a place among them; None for a task that was not scored.
    """

    task: str
    metric: str
    candidates: Sequence[Mapping[str, Any]]
    winner: int | None


def loss_chart(curve: Sequence[tuple[int, float]]) -> str:
    """The training loss of pretraining over its steps."""
    points = [(float(step), float(loss)) for step, loss in curve]
    y = axis([*(loss for _, loss in points), 0.0])
    line = Line(points, "shared best", f"loss {points[-1][1]:.3f} at step {curve[-1][0]}")
    return line_chart(
        [line], label="training loss of the shared prompt", x=_steps(points), y=y, x_title="pretraining step"
    )


def curve_chart(search: Search) -> str:
    """The dev scores of all candidates of a task while they trained; those that halving cut are dashed, the winner's is
    drawn last and thick."""
    order = sorted(range(len(search.candidates)), key=lambda n: n == search.winner)
    lines = []
    for n in order:
        entry = search.candidates[n]
        one = entry["candidate"]
        points = [(float(step), float(score)) for step, score, _ in entry["curve"]]
        classes, label = one["start"], f"{_named(one)}: {entry['score']:.3f} at step {entry['step']}"
        if entry["cut"] is not None:
            classes, label = f"{classes} cut", f"{label}, cut at step {entry['cut']}"
        if n == search.winner:
            classes, label = f"{classes} best", f"{label}, the winner"
        if points:
            lines.append(Line(points, classes, label))
    everything = [point for line in lines for point in line.points]
    y = axis(score for _, score in everything)
    label = f"dev {search.metric} of the candidates of {search.task} over training steps"
    return line_chart(lines, label=label, x=_steps(everything), y=y, x_title="step")


def length_chart(search: Search) -> str:
    """Best dev score against prompt length per start: mean over seeds, at the depth and learning rate that are best on
    dev."""
    best = best_by(cell_scores(search.candidates), lambda cell: (cell.start, cell.length))
    lengths = sorted({length for _, length in best})
    lines = []
    for start in ("scratch", "shared"):
        mine = [(n, best[start, length]) for n, length in enumerate(lengths) if (start, length) in best]
        if mine:
            points = [(float(n), cell.mean) for n, cell in mine]
            told = ", ".join(f"{cell.length}: {cell.mean:.3f}" for _, cell in mine)
            lines.append(Line(points, start, f"{_STARTS[start]}; {told}", True, [cell.deviation for _, cell in mine]))
    ends = [cell.mean + sign * cell.deviation for cell in best.values() for sign in (-1, 1)]
    label = f"dev {search.metric} of {search.task} against prompt length"
    x = places([str(length) for length in lengths])
    return line_chart(lines, label=label, x=x, y=axis(ends), x_title="prompt length")


def lengths_tried(search: Search) -> int:
    """How many prompt lengths a task's search had."""
    return len({entry["candidate"]["length"] for entry in search.candidates})


def gain_rows(found: Sequence[Gain]) -> tuple[list[tuple[Gain, str]], str]:
    """Each task's two starts on one scale: (gain, chart) per task, and the scale's numbers."""
    spreads = [spread for gain in found for spread in (gain.shared, gain.scratch)]
    scale = axis((s.mean + sign * s.deviation for s in spreads for sign in (-1, 1)), ticks=6)
    rows = []
    for gain in found:
        marks = [
            Mark(name, s.mean, (s.mean - s.deviation, s.mean + s.deviation), f"{_STARTS[name]}: {s.mean:.3f}")
            for name, s in (("shared", gain.shared), ("scratch", gain.scratch))
        ]
        label = f"{gain.task}: {gain.shared.mean:.3f} from the shared prompt, {gain.scratch.mean:.3f} from scratch"
        rows.append((gain, interval_row(marks, scale, label)))
    return rows, interval_axis(scale)


_STARTS = {"shared": "from the shared prompt", "scratch": "from scratch"}


def _named(candidate: Mapping[str, Any]) -> str:
    one = candidate
    prompt = f"{_STARTS[one['start']]}, length {one['length']}, from layer {one['first_layer']}"
    return f"{prompt}, learning rate {one['learning_rate']:g}, seed {one['seed']}"


def _steps(points: Sequence[tuple[float, float]]) -> Axis:
    """From 0 to the last step, wherever that is between the round numbers."""
    last = max(step for step, _ in points)
    return Axis(0.0, last, tuple(tick for tick in axis([0.0, last]).ticks if tick[0] <= last))
