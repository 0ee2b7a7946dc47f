"""The report on made-up results: complete in itself, true to the summary, safe against what others wrote."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workflows.report.made_up import Page, made_up, put, results, summary_of
from tests.workflows.small import small_config
from workflows.cli.results import gain_table, next_commands, results_table
from workflows.config.load import load_config
from workflows.report import write as report
from workflows.report.gains import gains, mean_difference
from workflows.report.view import report_view, without_passwords
from workflows.report.write import points, render_report, write_report
from workflows.stages.graph import RunGraph, build_graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("run"), "adapt.seeds=2")


@pytest.fixture(scope="module")
def summary(graph):
    return summary_of(graph, intent="3", slots="1")


def test_the_report_is_complete_in_itself(graph, summary):
    html = render_report(graph, summary)
    page = Page(html)
    assert page.references and all(reference.startswith("#") for reference in page.references)
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags) and not page.handlers
    assert not any(word in html for word in ("@import", "url(", "http:", "https:"))
    anchors = {reference[1:] for reference in page.references}
    assert all(f'id="{anchor}"' in html for anchor in anchors)


def test_every_number_of_the_summary_is_told(graph, summary):
    text = Page(render_report(graph, summary)).text
    for row in summary.rows:
        assert row.shared is not None and row.scratch is not None
        figures = [row.dev, row.test, row.from_scratch_test, row.ensemble_test]
        figures += [figure for one in (row.shared, row.scratch) for figure in (one.mean, one.deviation)]
        for figure in figures:
            assert f"{figure:.3f}" in text
        for other in (row.task, row.metric, f"{row.train_rows}", f"{row.learning_rate:g}"):
            assert other in text
    assert "version 3" in text and "1:23" in text and summary.folder in text
    assert all(note in text for note in summary.notes)
    assert all(f"{seconds}" in text for seconds in summary.stage_seconds.values())
    assert f"{graph.info.parameters:,}" in text and graph.dtype in text and graph.info.weights in text
    assert f"{graph.info.prompt_parameters(4):,}" in text
    assert all(row.first_layer == 1 and row.layers == 3 for row in summary.rows) and "2 of 3" in text


def test_a_prompt_costs_what_its_own_layers_take(graph, summary):
    costs = {cost.task: cost for cost in report_view(graph, summary)["costs"]}
    assert {cost.prompt for cost in costs.values()} == {graph.info.prompt_parameters(4, 1)}
    deeper = replace(summary, rows=tuple(replace(row, first_layer=2) for row in summary.rows))
    assert report_view(graph, deeper)["costs"][0].prompt == graph.info.prompt_parameters(4, 2)


def test_depth_and_length_are_compared_and_who_was_cut_is_told(graph, summary):
    page = Page(render_report(graph, summary))
    text = " ".join(page.text.split())
    assert "#depths" in page.references and "from layer 0, 1 or 2 up" in text
    assert text.count("cut at 2") == 2 * len(summary.rows)  # two lengths of the deepest, in a table per task
    assert "dashed: cut by halving" in text and "A dashed line ends where halving cut its candidates" in text
    assert "dot shared cut" in render_report(graph, summary)  # one look at dev, then it was cut
    (_, table), *_ = report_view(graph, summary)["depths"]
    assert [name for name, _ in table.rows] == ["3 of 3", "2 of 3", "1 of 3"]
    (winner,) = [shade for _, shades in table.rows for shade in shades if shade.winner]
    assert (winner.cell.first_layer, winner.cell.length) == (1, 4)


def test_padding_and_trunk_are_told_once_for_tasks_that_share_them(graph, summary):
    together, alone = report_view(graph, summary)["efforts"]
    assert together == {"tasks": ["intent", "slots"], "padding": 0.125, "trunk": "built, 4321 bytes"}
    assert alone == {"tasks": ["same_issue"], "padding": 0.25, "trunk": None}
    text = Page(render_report(graph, summary)).text
    assert all(told in text for told in ("intent, slots", "12.5 %", "built, 4321 bytes", "25.0 %"))


def test_what_adaptation_does_not_tell_is_not_shown(tmp_path):
    graph = made_up(tmp_path)
    for name in graph.config.adapt_tasks:
        put(graph, f"adapt/{name}", {"trained.json": results(graph, name, 0)[0]}, 1.0)
    assert "How adaptation used the backbone" not in Page(render_report(graph, summary_of(graph))).text


def test_a_search_without_depths_and_cuts_says_nothing_of_them(tmp_path):
    graph = made_up(tmp_path, "adapt.first_layers=[0]", "adapt.halving=null")
    page = Page(render_report(graph, summary_of(graph)))
    assert "#depths" not in page.references and "#lengths" in page.references
    assert "halving" not in page.text.split("How to reproduce")[0] and "3 of 3" in page.text


def test_members_that_count_twice_and_the_distilled_prompt(tmp_path):
    graph = made_up(tmp_path, "ensemble.distil=true")
    scores = results(graph, "intent", 0)[1]
    members = scores["ensemble"]["members"]
    scores["ensemble"]["members"] = [members[0], members[1], members[0]]
    put(graph, "evaluate/intent", {"scores.json": scores}, 2.0)
    scores = results(graph, "slots", 1)[1]
    scores["ensemble"]["members"] = [scores["winner"]["number"]] * 3  # the winner and nothing else
    put(graph, "evaluate/slots", {"scores.json": scores}, 2.0)
    summary = summary_of(graph)
    ensembles = {one.row.task: one for one in report_view(graph, summary)["ensembles"]}
    assert set(ensembles) == {"intent", "same_issue"}
    assert (ensembles["intent"].votes, ensembles["intent"].prompts) == (3, 2)
    text = " ".join(Page(render_report(graph, summary)).text.split())
    assert "2 3 votes" in text and all(f"{summary.rows[n].distilled_test:.3f}" in text for n in (0, 2))
    assert cells(results_table(summary))[8] == ["0.871", "0.881", "0.891"]


def test_held_out_tasks_come_first_and_alone_make_the_headline(graph, summary):
    found = gains(summary)
    assert [gain.task for gain in found] == ["same_issue", "intent", "slots"]
    assert [gain.held_out for gain in found] == [True, False, False]
    assert found[0].difference == pytest.approx(0.113)
    assert "gains 11.3 points" in " ".join(Page(render_report(graph, summary)).text.split())
    rows = [replace(row, shared=row.scratch, scratch=row.shared) for row in summary.rows]
    turned = " ".join(Page(render_report(graph, replace(summary, rows=tuple(rows)))).text.split())
    assert "costs 11.3 points" in turned and "−11.3" in turned


def test_a_difference_is_told_in_points_with_its_sign():
    assert [points(x) for x in (0.0834, -0.012, -0.0001, 0.0)] == ["+8.3", "−1.2", "+0.0", "+0.0"]


def test_a_single_seed_shows_no_deviation(graph, summary):
    one = [replace(row, shared=replace(row.shared, deviation=0.0, seeds=1)) for row in summary.rows]
    text = Page(render_report(graph, replace(summary, rows=tuple(one)))).text
    assert f"{one[0].shared.mean:.3f} ±" not in text and f"{one[0].scratch.mean:.3f} ±" in text


def test_what_others_wrote_is_shown_and_not_run(graph, summary):
    bad = "<script>alert('1')</script><img src=x onerror=alert(2)>"
    hostile = replace(summary, notes=(bad,), failed={bad: bad}, registry=f"sqlite:///{bad}", folder=bad, prefix=bad)
    hostile = replace(hostile, rows=tuple(replace(row, version=bad, metric=bad) for row in summary.rows))
    page = Page(render_report(graph, hostile))
    assert page.text.count("alert('1')") >= 7
    assert not {"script", "img"} & set(page.tags) and not page.handlers


def test_without_pretraining_and_ensemble_the_rest_is_there(tmp_path):
    graph = made_up(tmp_path, "pretrain=null", "ensemble=null", "adapt.lengths=[4]")
    summary = summary_of(graph)
    assert all(row.shared is None and row.ensemble_test is None for row in summary.rows)
    page = Page(render_report(graph, summary))
    assert "Nothing was pretrained" in page.text and "held out" not in page.text
    assert all(f"{row.test:.3f}" in page.text for row in summary.rows)
    assert "#pretraining" not in page.references and "#lengths" not in page.references
    assert "#curves" in page.references


def test_without_from_scratch_there_is_no_comparison(tmp_path):
    graph = made_up(tmp_path, "adapt.from_scratch=false")
    summary = summary_of(graph)
    assert gains(summary) == [] and mean_difference([]) is None
    assert "#pretraining" not in Page(render_report(graph, summary)).references


def test_failures_are_told_before_anything_else(graph):
    summary = summary_of(graph, {"slots": "adapt/slots: it broke"})
    text = Page(render_report(graph, summary)).text
    assert text.index("it broke") < text.index("What ran")
    assert "2 / 3" in text and "slots" not in [row.task for row in summary.rows]


def test_a_run_that_failed_whole_still_has_a_report(graph):
    failures = dict.fromkeys(graph.config.adapt_tasks, "no memory")
    text = Page(render_report(graph, summary_of(graph, failures))).text
    assert "0 / 3" in text and "No task was scored" in text and "1.91" not in text


def test_a_run_without_any_result_still_has_a_report(tmp_path):
    graph = build_graph(load_config(small_config(tmp_path)))
    assert write_report(graph, summary_of(graph)).report == str(graph.folder / "report.html")


def test_results_of_earlier_inputs_are_not_told(tmp_path):
    before = made_up(tmp_path)
    assert len(report_view(before, summary_of(before))["curves"]) == 3
    after = build_graph(load_config(tmp_path / "small.yaml", ["adapt.steps=5"]))
    view = report_view(after, summary_of(after))
    assert view["curves"] == [] and view["ensembles"] == [] and view["loss_chart"] is not None
    assert {row["status"] for row in view["stages"] if row["name"].startswith("adapt/")} == {"changed"}


def test_the_config_in_the_report_is_the_run_s(graph, summary, tmp_path):
    file = tmp_path / "again.yaml"
    file.write_text(report_view(graph, summary)["config_text"], encoding="utf-8")
    assert load_config(file) == graph.config


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
        ("https://anna:pa@55@mlflow.example:5000/x", "https://***@mlflow.example:5000/x"),
        ("postgresql://db/mlflow?user=anna&password=pa55", "postgresql://db/mlflow?user=anna&password=***"),
    ],
)
def test_passwords_stay_at_home(uri, told):
    assert without_passwords(uri) == told


def test_no_password_is_in_the_report(graph, summary):
    registry = graph.config.registry.model_copy(update={"uri": "https://anna:pa55@mlflow.example"})
    secret = RunGraph(graph.config.model_copy(update={"registry": registry}), graph.info, graph.tasks)
    html = render_report(secret, replace(summary, registry=registry.uri))
    assert "pa55" not in html and "***@mlflow.example" in html


def test_a_report_is_replaced_as_a_whole(graph, summary, monkeypatch):
    told = write_report(graph, summary)
    path = Path(told.report)
    assert path == graph.folder / "report.html" and told == replace(summary, report=str(path))
    before = path.read_bytes()

    def interrupted(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(report.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(graph, summary_of(graph, {"slots": "it broke"}))
    assert path.read_bytes() == before


def cells(table):
    return [[str(cell) for cell in column.cells] for column in table.columns]


def test_the_tables_of_the_terminal_tell_the_same(summary):
    results = cells(results_table(summary))
    assert results[0] == ["intent", "slots", "same_issue"]
    assert results[3] == ["2 of 3"] * 3 and len(results) == 9
    assert results[5] == [f"{row.test:.3f}" for row in summary.rows] and results[8] == ["3", "1", "-"]
    found = cells(gain_table(summary))
    assert found[0][0] == "same_issue" and found[1] == ["held out", "", ""]
    assert found[4] == ["+0.113"] * 3 and found[5] == ["2", "2", "2"]
    assert "±" in found[2][0]


def test_the_next_commands_can_be_typed(graph, summary):
    show, predict = next_commands(summary, "my runs/a.yaml")
    assert shlex.split(show) == ["deepprompt", "registry", "show", "intent", "--config", "my runs/a.yaml"]
    echo, row, pipe, *command = shlex.split(predict)
    assert (echo, pipe, command[:3]) == ("echo", "|", ["deepprompt", "predict", "intent"])
    assert set(json.loads(row)) == {"text"}


def test_the_next_commands_fit_the_first_registered_task(graph):
    row = shlex.split(next_commands(summary_of(graph, same_issue="1"), "small")[-1])[1]
    assert set(json.loads(row)) == {"text_a", "text_b"}


def test_after_failures_the_same_run_comes_first(graph):
    assert next_commands(summary_of(graph, {"slots": "it broke"}, intent="1"), "small")[0] == "deepprompt run small"
    assert next_commands(summary_of(graph), "small") == ["deepprompt status small"]
