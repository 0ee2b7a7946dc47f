"""`deepprompt report`: from what a run left, however far it got; nothing is computed and nothing heavy imported."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.forks import start
from tests.workflows.report.made_up import Page, made_up, put, summary_of
from tests.workflows.small import small_config
from workflows.cli.app import main
from workflows.config.load import load_config
from workflows.report import record_run
from workflows.report.again import report_again, summary_from_disk
from workflows.report.origin import RECORD, origin
from workflows.report.progress import missing
from workflows.report.write import render_report
from workflows.run import run
from workflows.stages.graph import build_graph


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A real run, small, and what its report said when it ended."""
    folder = tmp_path_factory.mktemp("finished")
    file = small_config(folder)
    summary = run(load_config(file))
    return file, summary, Path(summary.report).read_text()


@pytest.fixture(autouse=True)
def own_log(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_report_written_again_is_the_report(finished, capsys):
    file, summary, before = finished
    assert main(["report", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == summary.report and "missing" not in err

    def without_time(html: str) -> str:
        return " ".join(word for word in Page(html).text.split() if ":" not in word)

    assert without_time(Path(summary.report).read_text()) == without_time(before)


def test_every_interval_of_a_real_run_holds_its_score(finished, capsys, tmp_path):
    file, _, _ = finished
    assert main(["report", str(file), "--json", "--out", str(tmp_path / "there/r.html")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"] and told["missing"] == [] and Path(told["report"]) == tmp_path / "there/r.html"
    assert (tmp_path / "there/r.html").is_file()
    for task in told["tasks"]:
        for one in task["contenders"].values():
            low, high = one["ends"]
            assert low <= one["score"] <= high
    assert [task["version"] for task in told["tasks"]] == ["1", "1", "1"]
    assert told["origin"]["finished"] and told["origin"]["packages"]["torch"]


def reports(file):
    assert main(["report", str(file)]) == 0
    assert not {"ray", "deepspeed", "mlflow"} & set(sys.modules)


def test_neither_ray_nor_deepspeed_nor_mlflow_is_imported(finished):
    file, _, _ = finished
    process = start(reports, file)
    process.join()
    assert process.exitcode == 0, "stderr has the reason"


def test_a_partly_done_run_says_what_is_missing(finished, tmp_path, capsys):
    file, _, _ = finished
    shutil.copytree(load_config(file).run_folder, tmp_path / "small")
    config = tmp_path / "small.yaml"
    config.write_text(file.read_text().replace(f"storage: {file.parent}", f"storage: {tmp_path}"))
    folder = tmp_path / "small"
    shutil.rmtree(folder / "evaluate" / "slots")
    (folder / "adapt" / "same_issue").rename(folder / "adapt" / "gone")
    assert main(["report", str(config)]) == 0
    out, err = capsys.readouterr()
    assert "missing: slots: evaluate is not run (has not run)" in err
    assert "missing: same_issue: adapt is not run" in err and f"next: deepprompt run {config}" in err
    page = Page(Path(out.strip()).read_text())
    assert "This run is not complete" in page.text and "1 / 3" in page.text
    assert "slots: no test score, for evaluate is not run" in page.plain
    assert page.text.index("not complete") < page.text.index("Finish the run") < page.text.index("Results")


def test_a_run_that_has_not_begun_has_nothing_to_report(tmp_path, capsys):
    assert main(["report", str(small_config(tmp_path))]) == 2
    assert "has not begun" in capsys.readouterr().err and not (tmp_path / "small").exists()


def test_a_file_that_cannot_be_written_is_the_user_s_mistake(finished, tmp_path, capsys):
    file, _, _ = finished
    (tmp_path / "in the way").write_text("")
    assert main(["report", str(file), "--out", str(tmp_path / "in the way" / "r.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_changed_pretraining_is_told_once_and_nothing_of_before_is_shown(tmp_path):
    made_up(tmp_path)
    graph = build_graph(load_config(tmp_path / "small.yaml", ["pretrain.steps=7"]))
    for task in graph.tasks:
        put(graph, f"prepare/{task}", {"task.json": {}}, 1.0)
    (one,) = missing(graph)
    assert (one.room, one.status, len(one.tasks)) == ("pretrain", "changed", 3) and "pretrain" in one.reason
    html = render_report(graph, summary_from_disk(graph))
    assert "No task was scored" in html and "not trained yet" in html


def test_only_the_registration_is_missing(tmp_path):
    graph = made_up(tmp_path)
    for name in graph.stages:
        if name.startswith(("prepare", "ensemble")):
            put(graph, name, {}, 1.0)
    (one,) = missing(graph)
    assert (one.room, one.tasks) == ("register", ())
    assert "registry: register is not run" in Page(render_report(graph, summary_of(graph))).plain


def test_failures_and_the_machine_are_remembered_until_they_are_mended(tmp_path):
    graph = made_up(tmp_path)
    record_run(graph, summary_of(graph, {"slots": "adapt/slots: it broke"}))
    kept = json.loads((graph.folder / RECORD).read_text())
    kept["machine"]["processors"] = "7 × other"
    (graph.folder / RECORD).write_text(json.dumps(kept))
    assert summary_from_disk(graph).failed == {}  # its score is there: mended since
    shutil.rmtree(graph.folder / "evaluate" / "slots")
    summary = summary_from_disk(graph)
    assert summary.failed == {"slots": "adapt/slots: it broke"} and summary.seconds == kept["seconds"]
    text = Page(render_report(graph, summary)).text
    assert "it broke" in text and "7 × other" in text and "Machine that ran it" in text


def test_a_run_that_recorded_nothing_says_so(tmp_path):
    graph = made_up(tmp_path)
    assert origin(graph)["finished"] is None
    assert "where it ran is not recorded" in Page(render_report(graph, summary_of(graph))).text


def test_a_second_run_that_computes_nothing_keeps_the_record(finished):
    file, _, _ = finished
    config = load_config(file)
    before = (config.run_folder / RECORD).read_text()
    run(config)
    assert (config.run_folder / RECORD).read_text() == before


def test_report_again_answers_with_the_figures(finished):
    file, summary, _ = finished
    told = report_again(load_config(file))
    assert [task["test"] for task in told["tasks"]] == [row.test for row in summary.rows]
