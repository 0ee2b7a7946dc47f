"""What a plan counts and measures: operations, the trunk's bytes, the share that halving leaves."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.training.adaptation.halving import training_share
from tests.workflows.two_tasks import ROWS
from workflows.cli.plan_text import render
from workflows.cli.tables import output
from workflows.config.load import load_config
from workflows.plan import estimate
from workflows.plan.estimate import Pass
from workflows.plan.make import encode_tasks, make_plan
from workflows.plan.work import Work
from workflows.stages.graph import build_graph
from workflows.stages.stage import begin, commit


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


def test_sharded_weights_take_less_memory(config_file):
    info = build_graph(load_config(config_file)).info
    whole = estimate.worker_memory(info, 10**9, 4, 0)
    assert whole == estimate.PROCESS_BYTES + 10**9
    assert estimate.worker_memory(info, 10**9, 4, 0, share=8) < whole
    once, again = (estimate.worker_memory(info, 10**9, 4, 10**6, again=one) - whole for one in (False, True))
    assert 0 < again < once, "layers that keep their inputs only"


def test_a_plan_counts_the_scores_of_what_is_written(config_file):
    info = build_graph(load_config(config_file)).info
    silent, written = (estimate.worker_memory(info, 10**9, 4, 1000, scored=one) for one in (0, 50_000))
    assert written - silent >= 1000 * 50_000 * 4 * 3, "scores in fp32, their logarithms and a gradient at least"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_speed_is_measured(dtype):
    assert estimate.measure_speed(dtype, 48, seconds=0.01) > 0
