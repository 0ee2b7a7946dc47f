"""A plan says what a run would do and cost, and everything that is wrong with it, without running it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError, InputErrors
from tests.tiny import tiny_backbone
from workflows.cli.plan_text import render
from workflows.cli.tables import cell, columns, output
from workflows.config.load import load_config
from workflows.plan import estimate
from workflows.plan.estimate import Pass
from workflows.plan.make import make_plan
from workflows.stages.graph import build_graph
from workflows.stages.stage import begin, commit

ROOT = Path(__file__).parents[2]
ROWS = {"train": 12, "dev": 6, "test": 4}


def write_task(folder: Path, words: int = 5) -> Path:
    folder.mkdir()
    for split, count in ROWS.items():
        rows = [{"text": " ".join(["phone"] * words), "label": "ab"[i % 2]} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "one")
    write_task(tmp_path / "two", words=9)
    file = tmp_path / "run.yaml"
    file.write_text(
        f"""\
name: small
launcher: inline
backbone: {{model: {tiny_backbone("bert")}, dtype: float32, sharding: none}}
tasks:
  - {{name: one, type: classification, data: {{path: one}}}}
  - {{name: two, type: classification, data: {{path: two}}, max_tokens: 8, adapt: {{lengths: [2], seeds: 2}}}}
prompt: {{length: 4}}
pretrain: {{tasks: [one], steps: 5, batch_rows: 4}}
adapt: {{lengths: [2, 4], steps: 4, batch_rows: 6, evaluate_every: 2}}
ensemble: {{size: 2}}
"""
    )
    return file


def test_it_counts_rows_tokens_candidates_and_parameters(config_file):
    plan = make_plan(load_config(config_file))
    one, two = plan.tasks
    assert one.rows == two.rows == ROWS
    assert one.tokens == {"train": 12 * 7, "dev": 6 * 7, "test": 4 * 7}  # five words, [CLS] and [SEP]
    assert one.truncated == {"train": 0, "dev": 0, "test": 0}
    assert two.truncated == ROWS
    assert two.longest == 8
    assert (one.candidates, one.lengths) == (4, (2, 4))  # two lengths, from the shared prompt and from scratch
    assert (two.candidates, two.lengths) == (4, (2,))  # one length, two seeds, both starts
    assert (one.pretrained, two.pretrained) == (True, False)
    place, head = 3 * 2 * 32, (32 + 1) * 2  # three layers of keys and values of width 32; two labels
    assert plan.trainable["shared prompt"] == 4 * place + head
    assert one.trainable == 2 * (2 + 4) * place + 4 * head
    assert plan.prompts == 1 + 4 + 4
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
    assert [task.candidates for task in plan.tasks] == [2, 2]
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


def test_planning_imports_no_ray_no_deepspeed_no_mlflow_and_leaves_no_stage(config_file, tmp_path):
    code = (
        "import sys; from workflows.cli.app import main; code = main(['plan', sys.argv[1], '--json'])\n"
        "assert code == 0, code\n"
        "heavy = {'ray', 'deepspeed', 'mlflow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", str(config_file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tasks"][0]["name"] == "one"
    assert not (tmp_path / "runs" / "small").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_work_grows_with_what_there_is_to_do(config_file):
    info = build_graph(load_config(config_file)).info
    one = Pass(100, 10, 4)
    assert estimate.forward(info, Pass(200, 10, 4)) == pytest.approx(2 * estimate.forward(info, one))
    assert estimate.forward(info, Pass(100, 10, 40)) > estimate.forward(info, one)
    assert estimate.training(info, one) == 2 * estimate.forward(info, one)
    dense = info.parameters - info.vocabulary * info.width
    assert estimate.forward(info, one) == pytest.approx(2 * dense * 100 + 4 * 3 * 32 * 100 * 14)
    both = estimate.search(info, one, one, [4, 8], steps=10, every=5)
    alone = [estimate.search(info, one, one, [length], steps=10, every=5) for length in (4, 8)]
    assert both == pytest.approx(sum(alone))


def test_sharded_weights_take_less_memory(config_file):
    info = build_graph(load_config(config_file)).info
    whole = estimate.worker_memory(info, 10**9, 4, 0)
    assert whole == estimate.PROCESS_BYTES + 10**9
    assert estimate.worker_memory(info, 10**9, 4, 0, share=8) < whole


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_speed_is_measured(dtype):
    assert estimate.measure_speed(dtype, 48, seconds=0.01) > 0


def test_tables_show_text_as_it_is(capsys):
    output().print(columns(("a", "b"), [("[red]x", 0.5), ("[/]", None)]))
    out = capsys.readouterr().out
    assert "[red]x" in out
    assert "0.5000" in out
    assert cell({"dev": 0.25, "n": 1234, "on": True}) == "dev 0.2500, n 1,234, on yes"
