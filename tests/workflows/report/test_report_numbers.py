"""Every figure on the page is one of the run's records, under the right name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.workflows.report.made_up import SECONDS, Page, Tables, made_up, put, results, summary_of
from workflows.report.figures import figures
from workflows.report.progress import rooms
from workflows.report.view import report_view
from workflows.report.write import ends, points, render_report
from workflows.words import amount, span

NAMES = {"winner": "one prompt", "ensemble": "ensemble", "distilled": "distilled", "from_scratch": "from scratch"}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("run"), "adapt.seeds=2", "ensemble.distil=true")


@pytest.fixture(scope="module")
def summary(graph):
    return summary_of(graph, intent="3", slots="1")


@pytest.fixture(scope="module")
def html(graph, summary):
    return render_report(graph, summary)


def record(graph, stage, file):
    return json.loads((graph.stages[stage].folder(graph.folder) / file).read_text())


def test_the_leaderboard_is_that_of_the_scores(graph, html):
    table = Tables(html).under("one prompt", "ensemble", "distilled", "from scratch", "test rows", "version")
    assert list(table) == list(graph.config.adapt_tasks)
    for task, cells in table.items():
        scores = record(graph, f"evaluate/{task}", "scores.json")
        for kind, header in NAMES.items():
            interval = scores["intervals"]["scores"][kind]
            told = [f"{scores[kind]['test'][scores['metric']]:.3f}", ends((interval["low"], interval["high"]))]
            assert cells[header] == told
        assert cells["test rows"] == [f"{len(graph.tasks[task].splits['test']):,}"]
    assert [cells["version"] for cells in table.values()] == [["3"], ["1"], ["-"]]


def test_bars_reach_from_end_to_end_of_the_interval(graph, summary):
    from workflows.report.leaderboard import contest, leaderboard, score_scale

    board = leaderboard(graph, summary)
    scale = score_scale(board)
    for one in board:
        chart = contest(one, scale)
        for n, contender in enumerate(one.contenders.values(), start=1):
            height = round(100 * n / (len(one.contenders) + 1), 2)
            low, high = (scale.place(end) for end in contender.ends)
            kind = contender.name.replace("_", "-")
            assert f'class="interval {kind}" d="M{low} {height}H{high}"' in chart
            assert f'class="dot {kind}" d="M{scale.place(contender.score)} {height}' in chart


def test_what_dev_chose_is_the_winner_s(graph, html):
    for task, cells in Tables(html).under("start", "length", "layers", "rate", "step", "dev").items():
        winner = record(graph, f"evaluate/{task}", "scores.json")["winner"]
        trained = record(graph, f"adapt/{task}", "trained.json")[winner["number"]]
        assert cells["start"] == [winner["start"]] and cells["length"] == [str(winner["length"])]
        assert cells["layers"] == [f"{graph.info.layers - winner['first_layer']} of {graph.info.layers}"]
        assert cells["rate"] == [f"{winner['learning_rate']:g}"]
        assert cells["step"] == [f"{trained['step']} of {graph.config.adapt_for(task).steps}"]
        assert cells["dev"] == [f"{winner['dev']:.3f}"]
        assert cells["train rows"] == [f"{len(graph.tasks[task].splits['train']):,}"]


def test_gains_of_ensembles_are_differences_of_the_scores(graph, html):
    table = Tables(html).under("members", "combined by", "points over one prompt")
    assert list(table) == list(graph.config.adapt_tasks)
    for task, cells in table.items():
        scores = record(graph, f"evaluate/{task}", "scores.json")
        metric, over = scores["metric"], scores["intervals"]["over_winner"]["distilled"]
        assert cells["test"] == [f"{scores['ensemble']['test'][metric]:.3f}"]
        gained = scores["distilled"]["test"][metric] - scores["winner"]["test"][metric]
        told = [points(gained), f"{points(over['low'])} to {points(over['high'])}"]
        assert cells["points over one prompt"] == told  # the last of the two columns of this name


def test_what_pretraining_bought_stands_with_its_interval(html):
    assert Page(html).plain.count("+11.3 +9.6 to +14.2") == 3


def test_sizes_are_counted(graph, summary, html):
    table = Tables(html).under("parameters in prompt", "in head", "size")
    copy = table.pop("one fine-tuned copy")
    assert copy["size"] == [amount(graph.backbone_bytes)]
    for row in summary.rows:
        prompt = graph.info.prompt_parameters(row.length, row.first_layer)
        read = 4 if graph.tasks[row.task].spec.type == "pair" else 1  # two texts: their means, difference and product
        head = (read * graph.info.width + 1) * len(graph.tasks[row.task].labels)
        assert table[row.task]["parameters in prompt"] == [f"{prompt:,}"]
        assert table[row.task]["size"] == [amount(4 * (prompt + head))]


def test_the_time_is_the_sum_of_the_rooms(graph, summary, html):
    took = {room["name"]: room["seconds"] for room in rooms(summary.stage_seconds)}
    assert took == {"prepare": 1.5, "pretrain": 31.0, "adapt": 13.0, "evaluate": 2.0}  # side by side: the last one's
    text = Page(html).plain
    assert f"{span(sum(took.values()))} minutes and seconds of work" in text and span(SECONDS) in text


def test_the_figures_for_programs_are_unrounded_and_plain(graph, summary):
    told = json.loads(json.dumps(figures(report_view(graph, summary))))
    for task in told["tasks"]:
        scores = record(graph, f"evaluate/{task['task']}", "scores.json")
        metric = scores["metric"]
        assert task["test"] == scores["winner"]["test"][metric]
        for kind, contender in task["contenders"].items():
            assert contender["score"] == scores[kind]["test"][metric]
            interval = scores["intervals"]["scores"][kind]
            assert contender["ends"] == [interval["low"], interval["high"]]
    assert told["seconds"]["pretrain"] == 31.0 and told["complete"] is False
    assert told["gains"][0]["interval"] == [pytest.approx(0.096), pytest.approx(0.142)]


def test_scores_of_before_intervals_were_kept_are_told_without(tmp_path):
    graph = made_up(tmp_path)
    for place, name in enumerate(graph.config.adapt_tasks):
        scores = results(graph, name, place)[1]
        del scores["intervals"]
        put(graph, f"evaluate/{name}", {"scores.json": scores}, 2.0)
    html = render_report(graph, summary_of(graph))
    assert all(len(cells["one prompt"]) == 1 for cells in Tables(html).under("one prompt", "test rows").values())
    assert "Without an interval" in html and "interval above zero on 0 of 1" in Page(html).plain


def test_a_gate_s_decision_is_shown_where_there_is_one(graph, summary, html):
    assert "gate" not in [cell for table in Tables(html).tables for cell in map(" ".join, table[0])]
    first, *others = summary.rows
    decided = replace(summary, rows=(replace(first, gate="promoted: +2.1 points, at least 0.5 asked"), *others))
    table = Tables(render_report(graph, decided)).under("one prompt", "gate")
    assert table["intent"]["gate"] == ["promoted: +2.1 points, at least 0.5 asked"] and table["slots"]["gate"] == ["-"]
