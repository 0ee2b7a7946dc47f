"""Charts for the report: inline SVG that fits any width, without a script or a picture.

The marks are drawn in a square of 100 × 100 that is stretched over the chart; strokes do not stretch, and a dot is a
line of no length with a round end. The texts stand over it as HTML, so that they keep their size on a phone. Colours
come from the page's style sheet by class, which is how the same chart serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
MOST_POINTS = 240
"""More points than a chart has pixels are of no use; the last one is always kept."""


@dataclass(frozen=True)
class Axis:
    """A scale: from `low` to `high`, with the texts that stand on it."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Where a value is, in percent of the axis."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


@dataclass(frozen=True)
class Line:
    """One series.

    Args:
        points: (x, y), x ascending. classes: of the style sheet, e.g. "shared best". label: told when pointed at.
        dots: marks every point, not only the way between them. deviations: per point, drawn as an interval around it.
    """

    points: Sequence[Point]
    classes: str
    label: str
    dots: bool = False
    deviations: Sequence[float] = ()


@dataclass(frozen=True)
class Mark:
    """A dot with what it may be off by.

    Args:
        classes: of the style sheet. ends: of the interval, drawn if there is one. label: told when pointed at.
    """

    classes: str
    value: float
    ends: tuple[float, float] | None
    label: str


def axis(values: Iterable[float], ticks: int = 4) -> Axis:
    """A scale over the values with about so many round numbers on it, beginning and ending at one."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if high - low < 1e-9:  # one value: some room around it
        low, high = low - 0.05 * max(abs(low), 1.0), high + 0.05 * max(abs(high), 1.0)
    rough = (high - low) / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return Axis(first * step, last * step, tuple((n * step, f"{n * step:.{digits}f}") for n in range(first, last + 1)))


def places(names: Sequence[str]) -> Axis:
    """A scale of named places, evenly apart; place n is the number n."""
    return Axis(-0.5, len(names) - 0.5, tuple(enumerate(names)))


def line_chart(lines: Sequence[Line], *, label: str, x: Axis, y: Axis, x_title: str) -> str:
    """Lines over two axes. `label` says to those who do not see the chart what it shows."""
    grid = [_path(f"M0 {_down(y, value)}H100", "grid") for value, _ in y.ticks]
    return _tag(
        "div",
        {"class": "chart"},
        _plot([*grid, *(_series(line, x, y) for line in lines)], label),
        *(_tag("span", {"class": "y", "style": f"top:{_down(y, at)}%"}, escape(text)) for at, text in y.ticks),
        *(_tag("span", {"class": "x", "style": f"left:{x.place(at)}%"}, escape(text)) for at, text in x.ticks),
        _tag("span", {"class": "x-title"}, escape(x_title)),
    )


def interval_row(marks: Sequence[Mark], scale: Axis, label: str) -> str:
    """One row of a dot-and-interval chart, to be set under others on the same scale; its marks one below the other."""
    drawn = [_path(f"M{scale.place(value)} 0V100", "grid") for value, _ in scale.ticks]
    for n, mark in enumerate(marks, start=1):
        height = round(100 * n / (len(marks) + 1), 2)
        if mark.ends is not None and mark.ends[0] < mark.ends[1]:
            left, right = map(scale.place, mark.ends)
            drawn.append(_path(f"M{left} {height}H{right}", f"interval {mark.classes}"))
        drawn.append(_dot(scale.place(mark.value), height, mark.classes, mark.label))
    return _plot(drawn, label)


def interval_axis(scale: Axis) -> str:
    """The numbers below the rows of a dot-and-interval chart."""
    texts = (_tag("span", {"style": f"left:{scale.place(at)}%"}, escape(text)) for at, text in scale.ticks)
    return _tag("div", {"class": "ticks", "aria-hidden": "true"}, *texts)


def links(pairs: Sequence[tuple[float, float, str]], label: str) -> str:
    """Curves from left to right, for the space between two columns.

    Args:
        pairs: (percent from the top on the left, the same on the right, classes of the style sheet).
    """
    ways = [_path(f"M0 {left}C50 {left} 50 {right} 100 {right}", f"link {classes}") for left, right, classes in pairs]
    return _plot(ways, label)


def _series(line: Line, x: Axis, y: Axis) -> str:
    at = [(x.place(px), _down(y, py)) for px, py in _thinned(line.points)]
    parts = []
    if len(at) > 1:
        parts.append(_path("M" + "L".join(f"{px} {py}" for px, py in at), f"line {line.classes}", line.label))
    for (px, value), deviation in zip(line.points, line.deviations, strict=False):
        if deviation:
            ends = _down(y, value - deviation), _down(y, value + deviation)
            parts.append(_path(f"M{x.place(px)} {ends[0]}V{ends[1]}", f"interval {line.classes}"))
    if line.dots or len(at) == 1:
        parts += [_dot(px, py, line.classes, line.label) for px, py in at]
    return "".join(parts)


def _thinned(points: Sequence[Point]) -> list[Point]:
    known = [point for point in points if math.isfinite(point[1])]  # a loss that overflowed has no place
    stride = -(-len(known) // MOST_POINTS)
    return [*known[:-1:stride], known[-1]] if known else []


def _down(y: Axis, value: float) -> float:
    """Where a value is, in percent from the top."""
    return round(100 - y.place(value), 2)


def _plot(inside: Sequence[str], label: str) -> str:
    stretched = {"viewBox": "0 0 100 100", "preserveAspectRatio": "none", "role": "img", "aria-label": label}
    return _tag("svg", stretched, *inside)


def _dot(x: float, y: float, classes: str, label: str) -> str:
    return _path(f"M{x} {y}h0.001", f"dot {classes}", label)


def _path(way: str, classes: str, label: str = "") -> str:
    told = _tag("title", {}, escape(label)) if label else ""
    return _tag("path", {"class": classes, "d": way}, told)


def _tag(name: str, attributes: Mapping[str, str], *inside: str) -> str:
    """An element; attributes are escaped here, what is inside is markup already."""
    given = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{given}>{''.join(inside)}</{name}>"
