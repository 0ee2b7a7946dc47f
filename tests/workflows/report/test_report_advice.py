"""What the report advises follows from its figures; where data comes from and its licence are told as found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipeline.tasks.spec import DataSource
from tests.workflows.report.made_up import made_up, put, results, summary_of
from workflows.report.advice import advice
from workflows.report.gains import gains
from workflows.report.leaderboard import leaderboard
from workflows.report.progress import Missing
from workflows.report.sources import _licence, source
from workflows.report.view import report_view


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("run"))


def told(graph, summary, *, lacking=(), change=lambda one: one):
    standings = [change(one) for one in leaderboard(graph, summary)]
    return {one.do: one for one in advice(graph, summary, lacking, standings, gains(summary))}


def with_ends(over, ends=(0.6, 0.62)):
    def change(one):
        contenders = {
            name: replace(each, over=None if name == "winner" else over, ends=ends)
            for name, each in one.contenders.items()
        }
        return replace(one, contenders=contenders, step=1, gain=(0.01, 0.02))

    return change


def test_an_ensemble_is_advised_only_beyond_doubt(graph):
    summary = summary_of(graph)
    assert "Use the ensemble where it pays" not in told(graph, summary, change=with_ends((-0.001, 0.05)))
    found = told(graph, summary, change=with_ends((0.001, 0.05)))["Use the ensemble where it pays"]
    assert "intent, slots, same_issue" in found.why
    assert found.command == "deepprompt predict intent@ensemble --config small.yaml"


def test_doubt_asks_for_rows_and_harm_for_the_start_from_scratch(graph):
    summary = summary_of(graph)
    assert "Collect more test rows" not in told(graph, summary, change=with_ends(None))
    assert "Collect more test rows" in told(graph, summary, change=with_ends(None, (0.4, 0.6)))

    def harmed(one):
        return replace(with_ends(None)(one), gain=(-0.09, -0.01))

    assert "Keep the start from scratch in the search" in told(graph, summary, change=harmed)
    assert "Keep the start from scratch in the search" not in told(graph, summary)


def test_who_won_at_the_end_of_the_range_asks_for_more(graph):
    found = told(graph, summary_of(graph))
    assert "3 of 3 tasks chose the longest that was tried (4)" in found["Try longer prompts"].why
    assert "Train longer" in found  # best at step 4 of 4
    assert "Train longer" not in told(graph, summary_of(graph), change=lambda one: replace(one, step=2))


def test_what_is_not_done_comes_first_and_there_is_never_too_much(graph):
    summary = summary_of(graph, {"slots": "it broke"}, intent="1")
    lacking = [Missing("adapt", ("same_issue",), "interrupted", "continues where it stopped")]
    found = list(told(graph, summary, lacking=lacking, change=with_ends((0.1, 0.2), (0.1, 0.9))))
    assert found[:2] == ["Mend what failed", "Finish the run"] and found[-1] == "Use the prompts" and len(found) == 5


def test_a_name_with_blanks_is_quoted_for_the_shell(graph):
    summary = replace(summary_of(graph, intent="1"), name="our desk; rm")
    assert all("'our desk; rm.yaml'" in one.command for one in told(graph, summary).values() if one.command)


def test_an_ensemble_of_the_winner_alone_is_no_contender(tmp_path):
    graph = made_up(tmp_path)
    scores = results(graph, "intent", 0)[1]
    scores["ensemble"]["members"] = [scores["winner"]["number"]] * 2
    put(graph, "evaluate/intent", {"scores.json": scores}, 2.0)
    summary = summary_of(graph)
    assert [one.row.task for one in report_view(graph, summary)["ensembles"]] == ["slots", "same_issue"]


def test_the_demo_s_data_is_named(graph):
    task = graph.tasks["intent"]
    one = source(replace(task, spec=replace(task.spec, data=DataSource(demo="intent", seed=0))))
    assert one.origin == "demo suite, intent, seed 0" and one.licence == "generated, no text of others"
    assert one.rows["train"] == 30 and one.fingerprints == graph.tasks["intent"].fingerprints


@pytest.mark.parametrize(
    ("file", "text", "licence"),
    [
        ("card.json", json.dumps({"license": "CC-BY-SA-3.0 (BoolQ)"}), "CC-BY-SA-3.0 (BoolQ)"),
        ("dataset_info.json", json.dumps({"license": ""}), None),
        ("README.md", "---\nlanguage: en\nlicense: [mit, cc0-1.0]\n---\n# Data\n", "mit, cc0-1.0"),
        ("README.md", "# Data\n\n---\nlicense: mit\n---\n", None),
        ("LICENSE.txt", "\n  MIT License\n\nCopyright", "MIT License"),
        ("card.json", "{broken", None),
        ("README.md", "---\n: [\n---\n", None),
        ("card.json", json.dumps({"license": "x" * 500}), "x" * 200 + "…"),
    ],
)
def test_a_licence_is_told_as_the_folder_tells_it(tmp_path, file, text, licence):
    (tmp_path / file).write_text(text)
    assert _licence(DataSource(path=str(tmp_path))) == licence


def test_a_hub_dataset_is_not_asked_for_its_licence():
    assert _licence(DataSource(hub="google/boolq")) is None
