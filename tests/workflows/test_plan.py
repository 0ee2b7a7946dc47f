"""A plan says what a run would do and cost, and everything that is wrong with it, without running it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError, InputErrors
from pipeline.training.candidates import Candidate
from pipeline.training.halving import deal_cells, rungs, training_share
from tests.tiny import tiny_backbone
from workflows.cli.plan_text import render
from workflows.cli.tables import cell, columns, output
from workflows.config.load import load_config
from workflows.plan import estimate
from workflows.plan.estimate import Pass
from workflows.plan.make import encode_tasks, make_plan
from workflows.plan.work import Work
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
    whole = estimate.search(info, one, one, (4, 0), steps=10, every=5)
    assert whole == pytest.approx(10 * estimate.training(info, one) + 2 * estimate.forward(info, one))
    assert estimate.search(info, one, one, (8, 0), steps=10, every=5) > whole


def test_a_prompt_in_fewer_layers_costs_its_share_of_them(config_file):
    info = build_graph(load_config(config_file)).info
    for layer in range(info.layers):
        part = estimate.search(info, Pass(90, 9, 0), Pass(50, 9, 0), (4, layer), steps=10, every=5)
        whole = estimate.search(info, Pass(90, 9, 0), Pass(50, 9, 0), (4, 0), steps=10, every=5)
        assert part == pytest.approx(whole * (3 - layer) / 3)
        # What lies below a layer and what begins there are together a whole forward pass.
        both = estimate.below(info, Pass(90, 9, 4), layer) + estimate.forward(info, Pass(90, 9, 0, layer))
        assert both == pytest.approx(estimate.forward(info, Pass(90, 9, 0)))


def test_the_trunk_is_counted_once_when_it_is_cached_and_in_every_step_when_not(config_file):
    def adapting(*overrides: str) -> tuple[float, Work]:
        work = Work(graph := build_graph(load_config(config_file, overrides)), encode_tasks(graph))
        return work.operations("adapt", "one"), work

    upper = ("adapt.first_layers=[2]", "prompt.first_layer=2")
    cached, work = adapting(*upper)
    rows = [work.rows("one", split) for split in ("train", "dev")]
    once = sum(estimate.below(work.info, split, 2) for split in rows)
    step = work.rows("one", "train", 6)
    again = 4 * estimate.below(work.info, step, 2) + 2 * estimate.below(work.info, rows[1], 2)  # four steps, two looks
    for without in ("trunk=null", "trunk.max_bytes=1"):
        assert adapting(*upper, without)[0] - cached == pytest.approx(again - once)
    assert adapting("adapt.first_layers=[0]")[0] == adapting("adapt.first_layers=[0]", "trunk=null")[0]


def test_all_candidates_answer_dev_and_only_chosen_ones_answer_test(config_file):
    def answering(room: str, *overrides: str) -> float:
        graph = build_graph(load_config(config_file, ["adapt.first_layers=[0]", *overrides]))
        return Work(graph, encode_tasks(graph)).operations(room, "one")

    more = "adapt.learning_rates=[1e-4, 1e-3, 1e-2]"
    assert answering("ensemble", more) == pytest.approx(3 * answering("ensemble"))
    most = [answering("evaluate", more, f"ensemble.size={size}") for size in (1, 2, 99)]
    assert most[0] < most[1] < most[2]  # as many as there are, however many members are allowed
    dev, test = (ROWS[split] for split in ("dev", "test"))
    assert most[2] == pytest.approx(answering("ensemble", more) * test / dev)
    assert answering("ensemble", "ensemble.distil=true") > answering("ensemble")


def test_the_trunk_takes_a_vector_per_token_split_and_depth(config_file):
    tokens = (12 + 6) * 7 + (12 + 6) * 8  # train and dev of both tasks
    for layers, depths in (([0], 0), ([0, 2], 1), ([0, 1, 2], 2)):
        plan = make_plan(load_config(config_file, [f"adapt.first_layers={layers}"]))
        assert plan.trunk_bytes == tokens * 32 * 4 * depths
        assert plan.trunk_fits and plan.as_json()["trunk_fits"]
        assert plan.trunk_folder == str(config_file.parent / "runs" / ".cache" / "trunk")


def test_the_trunk_counts_on_the_disk_that_it_is_on(config_file, tmp_path):
    def disk(*overrides: str) -> int:
        return make_plan(load_config(config_file, overrides)).disk

    plan = make_plan(load_config(config_file))
    assert disk() - disk("trunk=null") == plan.trunk_bytes
    assert disk("trunk.max_bytes=100") - disk("trunk=null") == 100
    assert disk(f"trunk.folder={tmp_path}/fast") == disk("trunk=null")
    config = load_config(config_file)
    graph = build_graph(config)
    for name in ("adapt/one", "adapt/two"):
        begin(graph.folder, graph.stages[name])
        commit(graph.folder, graph.stages[name], {}, 1.0)
    assert disk() == disk("trunk=null")


def test_a_trunk_folder_that_cannot_be_is_told_before_the_run(config_file, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"trunk\.folder: this is not a folder"):
        make_plan(load_config(config_file, [f"trunk.folder={tmp_path}/file/x"]))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=0", "are cached in"),
        ("trunk.max_bytes=100", "do not fit trunk.max_bytes, 100 B, in"),
        ("trunk=null", "not cached (trunk: null)"),
        ("adapt.first_layers=[0]", None),
    ],
)
def test_a_plan_tells_what_becomes_of_the_trunk(config_file, capsys, override, words):
    render(make_plan(load_config(config_file, [override])), output())
    text = capsys.readouterr().out
    assert ("trunk: " not in text) if words is None else (words in text)


def test_halving_costs_less_and_its_share_is_told(config_file, capsys):
    def plan(*overrides: str):
        return make_plan(
            load_config(
                config_file, ["adapt.steps=90", "adapt.evaluate_every=30", "adapt.halving.factor=3", *overrides]
            )
        )

    halved, whole = plan(), plan("adapt.halving=null")
    # Task `one` has six cells per start: cut once, to two, after a third of the steps. Task `two` has three, then one.
    assert halved.tasks[0].share == pytest.approx((6 * 30 + 2 * 60) / (6 * 90))
    assert halved.tasks[1].share == pytest.approx((3 * 30 + 1 * 60) / (3 * 90))
    assert halved.share == pytest.approx((halved.tasks[0].share + halved.tasks[1].share) / 2)
    assert whole.share == 1.0
    render(whole, output())
    assert "halving: the candidates" not in capsys.readouterr().out


def test_each_bracket_is_cut_by_itself(config_file):
    brackets = ["adapt.steps=90", "adapt.halving.brackets=2", "adapt.halving.factor=3"]
    graph = build_graph(load_config(config_file, brackets))
    assert [len(places) for places in graph.brackets("one")] == [6, 6]
    assert [len(places) for places in graph.brackets("two")] == [8, 4]  # three cells of two seeds per start
    shares = Work(graph, encode_tasks(graph)).shares("one")
    assert shares == pytest.approx([training_share(90, 3, 3)] * 12)


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


CELLS = st.tuples(
    st.sampled_from(["shared", "scratch"]), st.integers(1, 4), st.integers(0, 3), st.sampled_from([1e-3, 1e-2])
)


@given(
    st.lists(CELLS, min_size=1, max_size=24, unique=True),
    st.integers(1, 3),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_candidates_are_dealt_to_brackets(cells, seeds, brackets, random):
    candidates = [Candidate(*cell, seed) for cell in cells for seed in range(seeds)]
    random.shuffle(candidates)
    dealt = deal_cells(candidates, brackets)
    assert sorted(place for places in dealt for place in places) == list(range(len(candidates)))
    assert all(places for places in dealt)
    found = [{candidates[n].cell for n in places} for places in dealt]
    assert sum(map(len, found)) == len(set().union(*found)) == len(cells)  # whole cells
    own = {start: sum(cell[0] == start for cell in cells) for start, *_ in cells}
    assert len(dealt) == min(brackets, *own.values(), 99)
    for start, count in own.items():
        shares = [sum(cell[0] == start for cell in one) for one in found]
        assert min(shares) == count // len(dealt) and max(shares) - min(shares) <= 1


@given(st.integers(1, 500), st.integers(1, 200), st.integers(2, 6))
def test_cuts_come_one_after_the_other_and_leave_someone(steps, cells, factor):
    cuts = rungs(steps, cells, factor)
    assert list(cuts) == sorted(set(cuts)) and all(0 < cut < steps for cut in cuts)
    assert factor ** len(cuts) <= cells
    left = cells
    for _ in cuts:
        left = -(-left // factor)
    assert left >= 1
    assert 1 / cells <= training_share(steps, cells, factor) <= 1
    assert (training_share(steps, cells, factor) < 1) == bool(cuts)


def test_sharded_weights_take_less_memory(config_file):
    info = build_graph(load_config(config_file)).info
    whole = estimate.worker_memory(info, 10**9, 4, 0)
    assert whole == estimate.PROCESS_BYTES + 10**9
    assert estimate.worker_memory(info, 10**9, 4, 0, share=8) < whole
    once, again = (estimate.worker_memory(info, 10**9, 4, 10**6, again=one) - whole for one in (False, True))
    assert 0 < again < once, "layers that keep their inputs only"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_speed_is_measured(dtype):
    assert estimate.measure_speed(dtype, 48, seconds=0.01) > 0


def test_tables_show_text_as_it_is(capsys):
    output().print(columns(("a", "b"), [("[red]x", 0.5), ("[/]", None)]))
    out = capsys.readouterr().out
    assert "[red]x" in out
    assert "0.5000" in out
    assert cell({"dev": 0.25, "n": 1234, "on": True}) == "dev 0.2500, n 1,234, on yes"
