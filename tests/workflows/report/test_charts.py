"""Charts: every mark inside its chart, round numbers on the scales, and nothing of the data read as markup. What they
show is what dev saw: best cells, means over seeds, and who was cut."""

from __future__ import annotations

import re
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.report.cells import best_by, cell_scores
from workflows.report.charts import Search, curve_chart, length_chart
from workflows.report.depths import depth_table, depths_tried
from workflows.report.drawing import MOST_POINTS, Line, Mark, axis, interval_axis, interval_row, line_chart, places

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
    marks = [Mark("shared", 0.5, (0.25, 0.75), "x"), Mark("scratch", 0.1, (0.1, 0.1), "x")]
    chart = interval_row(marks, axis([0, 1]), "x")
    assert 'class="interval shared" d="M25.0 33.33H75.0"' in chart
    assert "interval scratch" not in chart and 'class="dot scratch" d="M10.0 66.67' in chart


def test_names_are_no_markup():
    bad = '"><script>x</script>&'
    chart = line_chart([Line([(0.0, 1.0)], bad, bad)], label=bad, x=places([bad]), y=axis([1.0]), x_title=bad)
    for made in (chart, interval_row([Mark(bad, 0.1, (0, 1), bad)], axis([0, 1]), bad), interval_axis(places([bad]))):
        assert "<script" not in made and '""' not in made


def entry(start="shared", length=8, first_layer=0, rate=1e-2, seed=0, score=0.5, cut=None):
    one = {"start": start, "length": length, "first_layer": first_layer, "learning_rate": rate, "seed": seed}
    last = cut or 4
    curve = [[step, score, 1.0] for step in range(1, last + 1)]
    return {"candidate": one, "score": score, "loss": 1.0, "step": last, "curve": curve, "cut": cut}


def search(*entries, winner=None):
    return Search("intent", "accuracy", entries, winner)


def test_a_cell_is_the_mean_over_its_seeds():
    found = cell_scores([entry(seed=0, score=0.4), entry(seed=1, score=0.8), entry(length=16, score=0.7)])
    assert [(cell.length, cell.seeds) for cell in found] == [(8, 2), (16, 1)]
    assert (found[0].mean, found[0].deviation) == pytest.approx((0.6, 0.2))


entries = st.builds(
    entry,
    start=st.sampled_from(["shared", "scratch"]),
    length=st.sampled_from([4, 8]),
    first_layer=st.integers(0, 2),
    seed=st.integers(0, 3),
    score=st.integers(0, 100).map(lambda n: n / 100),
)


@given(st.lists(entries, min_size=1, max_size=20, unique_by=lambda one: tuple(one["candidate"].values())), st.data())
def test_what_was_cut_is_shown_only_where_nothing_else_is(found, data):
    cells = {tuple(list(one["candidate"].values())[:4]) for one in found}
    cut = data.draw(st.sets(st.sampled_from(sorted(cells))))
    for one in found:
        one["cut"] = 2 if tuple(list(one["candidate"].values())[:4]) in cut else None
    table = depth_table(search(*found), 3)
    assert len(table.rows) == depths_tried(search(*found))
    for (_, shades), layer in zip(table.rows, sorted({one["candidate"]["first_layer"] for one in found}), strict=True):
        for shade, length in zip(shades, table.lengths, strict=True):
            here = [
                one for one in found if (one["candidate"]["first_layer"], one["candidate"]["length"]) == (layer, length)
            ]
            assert (shade.cell is None) == (not here)
            if shade.cell is None:
                continue
            alive = [one for one in here if one["cut"] is None]
            assert (shade.cell.cut is None) == bool(alive)
            by_cell = {}
            for one in alive or here:
                by_cell.setdefault((one["candidate"]["start"]), []).append(one["score"])
            assert shade.cell.mean == pytest.approx(max(mean(scores) for scores in by_cell.values()))
            assert 0 <= shade.percent <= 50 and (shade.percent == 0) == (shade.cell.cut is not None)


def test_the_depth_table_reads_from_all_layers_to_the_fewest_and_marks_the_choice():
    found = [entry(length=n, first_layer=k, score=0.5 + n / 100 - k / 10) for n in (8, 16) for k in (0, 3, 5)]
    table = depth_table(search(*found, winner=1), 6)  # length 8, from layer 3
    assert list(table.lengths) == [8, 16] and [name for name, _ in table.rows] == ["6 of 6", "3 of 6", "1 of 6"]
    assert [[shade.winner for shade in shades] for _, shades in table.rows] == [[False] * 2, [True, False], [False] * 2]
    percents = [shade.percent for _, shades in table.rows for shade in shades]
    assert max(percents) == percents[1] and min(percents) == percents[4]  # 0.66 and 0.08


def test_equal_scores_are_coloured_alike_and_untried_places_are_empty():
    table = depth_table(search(entry(first_layer=0), entry(first_layer=1, length=16)), 2)
    (_, (here, nothing)), (_, (none, there)) = table.rows
    assert here.percent == there.percent and nothing.cell is none.cell is None


def test_the_best_of_a_key_is_the_first_of_equals():
    cells = cell_scores([entry(first_layer=0), entry(first_layer=1), entry(first_layer=2, cut=2, score=0.9)])
    assert best_by(cells, lambda cell: cell.length)[8].first_layer == 0


def test_lengths_are_compared_at_their_best_depth():
    chart = length_chart(search(entry(first_layer=0, score=0.4), entry(first_layer=3, score=0.6), entry(length=16)))
    assert "8: 0.600, 16: 0.500" in chart


def test_a_cut_candidate_ends_early_and_is_told_so():
    chart = curve_chart(search(entry(), entry(first_layer=3, cut=2, score=0.3), winner=0))
    assert 'class="line shared best"' in chart and "from layer 0, learning rate 0.01, seed 0: 0.500" in chart
    (way,) = re.findall(r'class="line shared cut" d="([^"]*)"', chart)
    assert float(re.findall(r"[ML]([\d.]+) ", way)[-1]) == 50  # step 2 of 4
    assert "from layer 3, learning rate 0.01, seed 0: 0.300 at step 2, cut at step 2" in chart
