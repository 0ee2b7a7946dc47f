"""A plan says what a run would do and cost, and everything that is wrong with it, without running it."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from pipeline.errors import InputError, InputErrors
from tests.forks import start
from tests.workflows.two_tasks import ROWS
from workflows.cli.app import main
from workflows.cli.plan_text import render
from workflows.cli.tables import cell, columns, output
from workflows.config.load import load_config
from workflows.plan import estimate
from workflows.plan.make import make_plan
from workflows.stages.graph import build_graph
from workflows.stages.stage import begin, commit


def test_it_counts_rows_tokens_candidates_and_parameters(config_file):
    plan = make_plan(load_config(config_file))
    one, two = plan.tasks
    assert one.rows == two.rows == ROWS
    assert one.tokens == {"train": 12 * 7, "dev": 6 * 7, "test": 4 * 7}  # five words, [CLS] and [SEP]
    assert one.truncated == {"train": 0, "dev": 0, "test": 0}
    assert two.truncated == ROWS
    assert two.longest == 8
    assert one.first_layers == two.first_layers == (0, 1, 2)  # all layers, the upper half, the top one
    assert (one.candidates, one.lengths) == (12, (2, 4))  # two lengths, three depths, from the shared prompt or scratch
    assert (two.candidates, two.lengths) == (12, (2,))  # one length, three depths, two seeds, both starts
    assert (one.pretrained, two.pretrained) == (True, False)
    place, head = 2 * 32, (32 + 1) * 2  # a layer's keys and values of width 32; two labels
    assert plan.trainable["shared prompt"] == 4 * 3 * place + head
    assert one.trainable == 2 * (2 + 4) * (3 + 2 + 1) * place + 12 * head
    assert two.trainable == 2 * 2 * 2 * (3 + 2 + 1) * place + 12 * head
    assert plan.prompts == 1 + 12 + 12
    assert plan.frozen_bytes == 4 * plan.frozen
    assert plan.sharding == "none"
    assert plan.sharding_reason


def test_it_says_what_is_skipped_and_why(config_file):
    config = load_config(config_file)
    graph = build_graph(config)
    stage = graph.stages["prepare/one"]
    begin(graph.folder, stage)
    commit(graph.folder, stage, {}, 1.0)
    stages = {stage.name: stage for stage in make_plan(config).stages}
    assert list(stages) == list(graph.stages)
    assert stages["prepare/one"].skipped
    assert "unchanged" in stages["prepare/one"].reason
    assert not stages["prepare/two"].skipped
    assert stages["adapt/one"].seconds > 0


def test_without_pretraining_and_ensemble(config_file):
    plan = make_plan(load_config(config_file, ["pretrain=null", "ensemble=null"]))
    assert plan.trainable["shared prompt"] == 0
    assert [task.candidates for task in plan.tasks] == [6, 6]
    assert {stage.name.split("/")[0] for stage in plan.stages} == {"prepare", "adapt", "evaluate", "register"}


def test_it_is_plain_data_and_readable(config_file, capsys):
    plan = make_plan(load_config(config_file))
    assert json.loads(json.dumps(plan.as_json()))["name"] == "small"
    render(plan, output())
    text = capsys.readouterr().out
    for words in (
        "small",
        "float32",
        "sharding none",
        "two: rows cut because they are too long: train 12, dev 6, test 4",
        "pretraining does not see two",
        "one",
        "two",
        "prepare/… (2 tasks)",
        "pretrain",
        "estimate: about",
        "0 1 2",
        "halving: the candidates take at most",
        "trunk: ",
    ):
        assert words in text


def test_every_problem_in_data_backbone_and_registry_is_told_at_once(config_file, tmp_path):
    (tmp_path / "one" / "dev.jsonl").write_text('{"text": "phone"\n')
    (tmp_path / "two" / "test.jsonl").unlink()
    with pytest.raises(InputErrors) as caught:
        make_plan(load_config(config_file, ["registry.uri=http://127.0.0.1:9", "prompt.length=500"]))
    messages = "\n".join(problem.message for problem in caught.value.problems)
    for words in ("dev.jsonl:1", "no test split", "longer than the backbone's context", "does not answer"):
        assert words in messages


def test_rows_that_are_too_long_are_told_for_every_task(config_file):
    refuse = [f"tasks.{name}.{key}" for name in ("one", "two") for key in ("too_long=refuse", "max_tokens=4")]
    with pytest.raises(InputErrors) as caught:
        make_plan(load_config(config_file, refuse))
    assert "'one'" in caught.value.message
    assert "'two'" in caught.value.message


def test_too_little_room_on_the_disk(config_file, monkeypatch):
    monkeypatch.setattr(estimate, "disk_bytes", lambda *counts: 10**18)
    with pytest.raises(InputError, match="not enough room"):
        make_plan(load_config(config_file))


def plans(config_file, told):
    """Plans by the command, in a process of its own, and writes down which of the heavy libraries that took."""
    with redirect_stdout(StringIO()) as out:
        code = main(["plan", str(config_file), "--json"])
    heavy = sorted({"ray", "deepspeed", "mlflow", "torch"} & set(sys.modules))
    told.write_text(json.dumps({"code": code, "heavy": heavy, "plan": json.loads(out.getvalue())}))


def test_planning_imports_no_ray_no_deepspeed_no_mlflow_and_leaves_no_stage(config_file, tmp_path):
    process = start(plans, config_file, tmp_path / "told.json")
    process.join()
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["code"], told["heavy"]) == (0, ["torch"])
    assert told["plan"]["tasks"][0]["name"] == "one"
    assert not (tmp_path / "runs" / "small").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_depths_follow_the_shared_prompt(config_file):
    def depths(*overrides: str) -> tuple[int, ...]:
        return build_graph(load_config(config_file, overrides)).first_layers("one")

    assert depths() == (0, 1, 2)
    assert depths("prompt.first_layer=1") == (1,)
    assert depths("prompt.first_layer=1", "adapt.first_layers=[2, 1]") == (2, 1)
    assert depths("adapt.first_layers=[2]", "tasks.one.adapt.first_layers=auto") == (0, 1, 2)
    first_layers = [one.first_layer for one in build_graph(load_config(config_file)).candidates("one")]
    assert first_layers == [0, 1, 2] * 4


@pytest.mark.parametrize(("layers", "depths"), [(1, (0,)), (2, (0, 1)), (6, (0, 3, 5)), (12, (0, 6, 10))])
def test_three_depths_are_all_layers_the_upper_half_and_the_top_sixth(config_file, layers, depths):
    graph = build_graph(load_config(config_file))
    assert replace(graph, info=replace(graph.info, kinds=("encoder",) * layers)).first_layers("one") == depths


def test_layers_that_the_backbone_lacks_are_told_where_they_stand(config_file):
    with pytest.raises(InputErrors) as caught:
        make_plan(load_config(config_file, ["adapt.first_layers=[0, 3]", "tasks.two.adapt.first_layers=[7]"]))
    messages = [problem.message for problem in caught.value.problems]
    assert messages == [
        "adapt.first_layers: the backbone has no such layer; found 3; expected 0 to 2",
        "tasks.two.adapt.first_layers: the backbone has no such layer; found 7; expected 0 to 2",
    ]


def changed(config_file: Path, *overrides: str) -> set[str]:
    """The rooms whose stages another config has otherwise."""
    before, after = (build_graph(load_config(config_file, own)).stages for own in ((), overrides))
    return {stage.room for name, stage in after.items() if stage.fingerprint != before[name].fingerprint}


def test_what_changes_no_result_repeats_nothing(config_file):
    assert not changed(config_file, "adapt.room=3", "trunk=null", "adapt.workers=7")
    assert not changed(config_file, "adapt.first_layers=[0, 1, 2]")  # what auto means


def test_a_search_setting_does_not_repeat_pretraining(config_file):
    after = {"adapt", "ensemble", "evaluate", "register"}
    for override in ("adapt.first_layers=[0]", "adapt.lengths=[2]", "adapt.halving=null", "adapt.halving.factor=2"):
        assert changed(config_file, override) == after
    assert changed(config_file, "pretrain.nested=false") == {"pretrain", *after}


def test_a_choice_on_dev_does_not_repeat_training(config_file):
    assert changed(config_file, "adapt.tolerance=0.1") == {"evaluate", "register"}
    assert changed(config_file, "ensemble.size=3") == {"ensemble", "evaluate", "register"}
    assert changed(config_file, "ensemble.distil=true") == {"ensemble", "evaluate", "register"}


def test_tables_show_text_as_it_is(capsys):
    output().print(columns(("a", "b"), [("[red]x", 0.5), ("[/]", None)]))
    out = capsys.readouterr().out
    assert "[red]x" in out
    assert "0.5000" in out
    assert cell({"dev": 0.25, "n": 1234, "on": True}) == "dev 0.2500, n 1,234, on yes"
