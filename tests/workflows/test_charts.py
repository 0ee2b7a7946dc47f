"""Charts: every mark inside its chart, round numbers on the scales, and nothing of the data read as markup."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from workflows.report.drawing import MOST_POINTS, Line, axis, interval_axis, interval_row, line_chart, places

values = st.lists(st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6)), min_size=1, max_size=30)


@given(values)
def test_a_scale_holds_its_values(given_values):
    scale = axis(given_values)
    assert all(-0.01 <= scale.place(value) <= 100.01 for value in given_values)
    at = [place for place, _ in scale.ticks]
    assert at == sorted(at) and 2 <= len(at) <= 8
    assert (scale.place(at[0]), scale.place(at[-1])) == (0, 100)


@given(values)
def test_the_numbers_of_a_scale_differ(given_values):
    texts = [text for _, text in axis(given_values).ticks]
    assert len(set(texts)) == len(texts)


def test_scores_get_round_numbers():
    assert [text for _, text in axis([0.71, 0.93]).ticks] == ["0.7", "0.8", "0.9", "1.0"]
    assert [text for _, text in axis([0.9]).ticks] == ["0.85", "0.90", "0.95"]
    assert axis([]).ticks and axis([float("nan"), 1.0, 2.0]).high == 2.0


def test_lines_stay_within_the_chart_and_are_thinned():
    points = [(float(n), (n % 7) / 7) for n in range(2000)] + [(2000.0, float("inf"))]
    chart = line_chart([Line(points, "shared", "x")], label="x", x=axis([0, 2000]), y=axis([0, 1]), x_title="step")
    numbers = re.findall(r"[ML]([\d.]+) ([\d.]+)", re.search(r'class="line shared" d="([^"]*)"', chart).group(1))
    assert len(numbers) <= MOST_POINTS + 1
    assert all(0 <= float(x) <= 100 and 0 <= float(y) <= 100 for x, y in numbers)
    assert float(numbers[-1][0]) == round(100 * 1999 / 2000, 2)


def test_a_single_point_is_seen():
    chart = line_chart([Line([(1.0, 0.5)], "shared", "x")], label="x", x=axis([0, 2]), y=axis([0, 1]), x_title="")
    assert 'class="dot shared"' in chart


def test_intervals_reach_from_mean_minus_to_mean_plus_deviation():
    chart = interval_row({"shared": (0.5, 0.25), "scratch": (0.1, 0.0)}, axis([0, 1]), "x")
    assert 'class="interval shared" d="M25.0 33.33H75.0"' in chart
    assert "interval scratch" not in chart and 'class="dot scratch" d="M10.0 66.67' in chart


def test_names_are_no_markup():
    bad = '"><script>x</script>&'
    chart = line_chart([Line([(0.0, 1.0)], bad, bad)], label=bad, x=places([bad]), y=axis([1.0]), x_title=bad)
    for made in (chart, interval_row({bad: (0.1, 0.1)}, axis([0, 1]), bad), interval_axis(places([bad]))):
        assert "<script" not in made and '""' not in made
