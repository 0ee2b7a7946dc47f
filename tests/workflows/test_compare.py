"""`deepprompt compare`: one budget for every method, one table, resumable, and mistakes told before anything runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.tasks import PreparedTask
from pipeline.training.adaptation.finetune import Trainable
from tests.families import language_model
from tests.workflows.report.made_up import Page
from tests.workflows.runs.test_run_written import CONFIG
from tests.workflows.runs.test_run_written import config_of as written_config
from tests.workflows.runs.test_verbal_runs import HARD, PROMPT
from tests.workflows.runs.test_verbal_runs import config_of as verbal_config
from tests.workflows.small import small_config
from workflows.cli.app import main
from workflows.compare import compare
from workflows.compare import run as run_module
from workflows.compare.pieces import Pieces
from workflows.config.load import load_config
from workflows.driver import Driver
from workflows.stages.graph import build_graph
from workflows.stages.stage import standing

METHODS = ("deep", "prefix", "prompt_tuning", "p_tuning", "head", "finetune")
ENSEMBLE = "ensemble: {size: 2}"
TWO = {"adapt: {": "adapt: {tasks: [intent, slots], "}


def config_of(folder, compare="steps: 4, seeds: 2", **changes):
    return small_config(folder, **{ENSEMBLE: f"{ENSEMBLE}\ncompare: {{{compare}}}", **TWO, **changes})


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    file = config_of(tmp_path_factory.mktemp("compare"))
    config, events = load_config(file), []
    return config, compare(config, on_event=events.append), events


@pytest.fixture(scope="module")
def pieces(compared):
    return Pieces(build_graph(compared[0]))


def scores_of(result, row):
    return json.loads((Path(result.folder) / f"compare/{row.task}/{row.method}/scores.json").read_text())


def test_every_method_has_the_same_steps_rows_and_looks_at_dev(compared):
    _, result, _ = compared
    assert [(row.task, row.method) for row in result.rows] == [(t, m) for t in ("intent", "slots") for m in METHODS]
    assert result.exit_code == 0 and {row.steps for row in result.rows} == {4}
    for row in result.rows:
        scores = scores_of(result, row)
        assert [[step for step, _, _ in seed["curve"]] for seed in scores["seeds"]] == [[2, 4], [2, 4]]
        assert row.test.seeds == 2 and row.test.mean == pytest.approx(
            sum(seed["test"][row.metric] for seed in scores["seeds"]) / 2
        )
        assert row.dev.mean == pytest.approx(
            sum(max(value for _, value, _ in seed["curve"]) for seed in scores["seeds"]) / 2
        )
    assert len({row.dev.mean for row in result.rows if row.task == "slots"}) > 1  # they are different methods


def test_what_is_trained_is_counted(compared, pieces):
    _, result, _ = compared
    graph = pieces.run
    by = {(row.task, row.method): row for row in result.rows}
    width, labels = graph.info.width, len(graph.tasks["intent"].labels)
    head = (width + 1) * labels
    assert by["intent", "head"].parameters == by["intent", "head"].kept == head
    whole = sum(p.numel() for p in Trainable(graph.info, "float32").parameters())
    assert by["intent", "finetune"].parameters == whole + head > 25_000
    assert by["intent", "prompt_tuning"].parameters == 4 * width + head
    assert by["intent", "deep"].parameters == graph.info.layers * 2 * 4 * width + head
    assert by["intent", "prefix"].parameters > by["intent", "prefix"].kept == by["intent", "deep"].kept


def test_rows_leave_room_for_the_prompt_among_the_tokens(pieces):
    prepared = PreparedTask.load(pieces.prepared("intent"))
    assert prepared.rules["context"] == pieces.run.info.context - 4


def test_a_method_has_what_it_usually_has_on_a_task_of_that_type(pieces):
    def of(task, method):
        settings = pieces.payload(task, method, Path())
        rates = {one["learning_rate"] for one in settings["candidates"]}
        return sorted(rates), settings["settings"]["head_share"]

    assert of("slots", "deep") == of("intent", "deep")  # the config's own method, whose rates it gives
    assert of("slots", "prefix") == ([0.1], 0.1) and of("intent", "prefix") == ([0.01], 1.0)
    assert of("slots", "head") == of("slots", "prompt_tuning") == ([0.01], 1.0)
    assert of("slots", "finetune")[0] == [5e-5, 3e-4]


def test_the_best_of_a_task_is_marked_and_the_choice_is_made_on_dev(compared):
    _, result, _ = compared
    for task in ("intent", "slots"):
        rows = [row for row in result.rows if row.task == task]
        assert [row for row in rows if row.best] == [r for r in rows if r.test.mean == max(o.test.mean for o in rows)]
    dev = {m: sum(row.dev.mean for row in result.rows if row.method == m) for m in METHODS if m != "finetune"}
    assert dev[result.choice] == max(dev.values())
    assert result.means().keys() == set(METHODS)


def test_a_second_time_nothing_runs_and_lost_pieces_alone_run_again(compared, monkeypatch):
    config, result, first = compared
    calls = []
    work = run_module.compare_piece

    def counted(replica, payload, world):
        calls.append((payload["name"], payload["method"]))
        return work(replica, payload, world)

    monkeypatch.setattr(run_module, "compare_piece", counted)
    events = []
    again = compare(config, on_event=events.append)
    assert calls == [] and again.rows == result.rows
    assert sum("skipped: unchanged" in str(event.get("note")) for event in events) == 12 + 2  # and the encoded rows
    assert any("all 12 pieces are done" in str(event.get("note")) for event in events)
    for method in ("prefix", "finetune"):
        (Path(result.folder) / f"compare/slots/{method}/stage.json").unlink()
    repeated = compare(config)
    assert calls == [("slots", "prefix"), ("slots", "finetune")]
    assert [row.test for row in repeated.rows] == [row.test for row in result.rows]  # the same again, to the last digit
    assert any("2 tasks × 6 methods, 2 seeds, 4 steps each" in str(event.get("note")) for event in first)


def test_another_budget_is_another_piece_and_other_methods_are_not(compared, pieces):
    config, result, _ = compared
    for changes, same in (({"steps": 6}, False), ({"seeds": 3}, False), ({"methods": ("head",)}, True)):
        other = config.model_copy(update={"compare": config.compare.model_copy(update=changes)})
        stage = Pieces(replace(pieces.run, config=other)).stages["slots", "head"]
        assert standing(Path(result.folder), stage).skipped == same


def test_the_page_and_the_file_say_what_the_table_says(compared):
    _, result, _ = compared
    page = Page(Path(result.page).read_text())
    assert page.references == page.handlers == [] and "script" not in page.tags
    for row in result.rows:
        assert f"{row.test.mean:.3f}" in page.plain and f"{row.parameters:,}" in page.plain
    told = json.loads((Path(result.folder) / "compare.json").read_text())
    assert told["means"] == pytest.approx(result.means()) and len(told["rows"]) == 12


def test_equal_seconds_tell_the_steps_that_were_reached(tmp_path):
    file = config_of(
        tmp_path, "seconds: 0.2, seeds: 1, methods: [deep, finetune, head]", **{"[intent, slots], ": "[intent], "}
    )
    result = compare(load_config(file))
    assert {row.method for row in result.rows} == {"deep", "finetune", "head"}
    for row in result.rows:
        assert row.steps >= 1 and row.seconds >= 0.2
        assert [seed["step"] for seed in scores_of(result, row)["seeds"]] == [row.steps]  # scored at the end
    assert result.budget == "0.2 seconds each"


def test_the_shared_prompt_is_compared_once_the_run_has_it(tmp_path):
    file = config_of(tmp_path, "seeds: 1, methods: [shared, deep]", **{"[intent, slots], ": "[intent], "})
    config = load_config(file)
    with pytest.raises(InputError, match="no shared prompt yet"):
        compare(config)
    with Driver(build_graph(config), "inline", None, lambda event: None, tmp_path / "log") as driver:
        driver.prepare()
        driver.pretrain()
    result = compare(config)
    shared, deep = result.rows
    assert shared.method == "shared" and shared.parameters == deep.parameters
    curves = [scores_of(result, row)["seeds"][0]["curve"] for row in (shared, deep)]
    assert curves[0] != curves[1]  # another start, with other losses


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("methods: [dep]", "compare.methods.0: there is no such method; found dep;"),
        ("methods: []", "compare.methods"),
        ("methods: [deep, deep]", "'deep' is here 2 times"),
        ("steps: 4, seconds: 2.0", "the budget is given twice"),
        ("seconds: -1.0", "more than 0"),
        ("learning_rates: {fintune: [1e-5]}", "did you mean 'finetune'"),
        ("seed: 3", "unknown key"),
        ("length: 100", "longer than the backbone's context"),
    ],
)
def test_mistakes_are_told_before_anything_runs(section, told, tmp_path, capsys):
    file = config_of(tmp_path, section)
    assert main(["compare", str(file)]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert not list(tmp_path.rglob("scores.json"))


def test_the_command_prints_one_table_and_what_to_type_next(compared, capfd):
    config, _, _ = compared
    file = config.run_folder.parent / "small.yaml"
    config_of(config.run_folder.parent)
    assert main(["compare", str(file), "--methods", "head,deep"]) == 0
    out = capfd.readouterr().out
    table = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in table[1:5]] == [
        ["intent", "head"],
        ["intent", "deep"],
        ["slots", "head"],
        ["slots", "deep"],
    ]
    assert "mean" in out and "next: deepprompt run" in out


def test_a_head_alone_is_linear_or_left_out(tmp_path):
    """Where words of the vocabulary answer there is none to train: refused where it is asked for, else not there."""
    text = CONFIG + "compare: {{steps: 2, seeds: 1}}\n"
    config = written_config(tmp_path, language_model("llama"), text)
    assert Pieces(build_graph(config)).how.methods == tuple(name for name in METHODS if name != "head")
    text = CONFIG + "compare: {{methods: [deep, head], steps: 2}}\n"
    asked = written_config(tmp_path, language_model("llama"), text)
    with pytest.raises(InputError, match=r"compare\.methods: .* answer tell: .*no linear head.*found head"):
        Pieces(build_graph(asked))


def test_hard_prompts_stand_beside_trained_ones_where_words_answer(tmp_path):
    section = f"{ENSEMBLE}\ncompare: {{methods: [hard, deep, prompt_tuning], steps: 2, seeds: 1}}"
    prompt = "prompt: {length: 4, init: normal, head: verbalizer}"
    config = verbal_config(tmp_path, {**HARD, PROMPT: prompt, ENSEMBLE: section})
    result = compare(config)
    assert result.exit_code == 0 and len(result.rows) == 6
    for row in result.rows:
        assert (row.parameters, row.steps) == (0, 0) if row.method == "hard" else row.parameters > 0 and row.steps == 2


def test_what_is_written_is_compared_by_the_texts(tmp_path):
    text = CONFIG + "compare: {{methods: [deep, finetune], steps: 2, seeds: 1}}\n"
    result = compare(written_config(tmp_path, language_model("llama"), text))
    assert result.exit_code == 0 and [row.metric for row in result.rows if row.task == "tell"] == ["bleu", "bleu"]
    for row in result.rows:
        (seed,) = scores_of(result, row)["seeds"]
        # dev and test hold the same rows here, so texts that are scored on both are scored alike
        assert row.task != "tell" or seed["dev"] == pytest.approx(seed["test"]["bleu"])
