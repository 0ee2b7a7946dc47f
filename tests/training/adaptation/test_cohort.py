"""Candidates that train together end where they would have ended alone, and an interrupted cohort where it would
have."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch

from pipeline.backbone import load_backbone
from pipeline.prompts import Recipe
from pipeline.tasks import HeadBank, PreparedTask
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.evaluate import answer_split
from pipeline.training.results import load_trained, save_trained
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.forks import killed
from tests.training.worlds import Interrupted, Stop

SETTINGS = SearchSettings(steps=8, rows=6, warmup=0.25, evaluate_every=4, patience=0, seed=3, head_share=0.5)
CANDIDATES = [
    Candidate("scratch", 4, 0, 1e-2, 0),
    Candidate("scratch", 2, 2, 3e-3, 1),
    Candidate("shared", 6, 1, 2e-2, 0),
    Candidate("shared", 3, 0, 1e-2, 5),
]


def start_for(model, init="normal"):
    info = model.info
    shared = torch.randn(info.layers, 2, info.heads, 5, info.head_size, generator=torch.Generator().manual_seed(1))
    return Start(prompt=shared, heads={}, init=init)


def cohort_of(model, searches, folder, *, world=None, trunks=None, checkpoint_every=3, room=64, tokens_per_pass=0):
    """A cohort of (task, candidates, settings) triples."""
    pooling = "last" if model.info.causal else "mean"
    settings = CohortSettings(pooling, room, checkpoint_every, tokens_per_pass=tokens_per_pass)
    made = [Search(task, candidates, start_for(model), how) for task, candidates, how in searches]
    return Cohort(model, made, settings, world or LocalWorld(folder), trunks)


def train(model, task, candidates, folder, settings=SETTINGS, **how):
    return cohort_of(model, [(task, candidates, settings)], folder, **how).run()[0]


def assert_same(one, other, atol=1e-4):
    assert one.candidate == other.candidate and one.step == other.step
    assert one.score == pytest.approx(other.score, abs=1e-6)
    for name in ("prompt", "weight", "bias"):
        assert torch.allclose(getattr(one, name), getattr(other, name), atol=atol, rtol=1e-3), name


@pytest.mark.parametrize(("family", "name"), [("bert", "intent"), ("llama", "slots"), ("gpt2", "same_issue")])
def test_together_equals_alone(family, name, backbone, prepared, tmp_path):
    """Candidates of all lengths, depths, rates and starts, in passes so narrow that they are split."""
    model, task = backbone(family), prepared(name, family)
    together = train(model, task, CANDIDATES, tmp_path / "together", tokens_per_pass=100)
    for n, candidate in enumerate(CANDIDATES):
        (alone,) = train(model, task, [candidate], tmp_path / f"alone{n}")
        assert_same(together[n], alone)


def test_together_equals_alone_on_minilm(backbone, prepared, tmp_path):
    model, task = backbone("minilm"), prepared("orders", "minilm", 12)
    settings = replace(SETTINGS, steps=4, rows=4)
    chosen = [CANDIDATES[0], replace(CANDIDATES[3], first_layer=4)]
    together = train(model, task, chosen, tmp_path / "together", settings)
    for n, candidate in enumerate(chosen):
        (alone,) = train(model, task, [candidate], tmp_path / f"alone{n}", settings)
        assert_same(together[n], alone)


def test_tasks_together_equal_each_alone_whenever_they_enter(backbone, prepared, tmp_path):
    """Three tasks in a room for five candidates: the third enters when pruning has made room, at another step."""
    model = backbone("bert")
    cutting = replace(SETTINGS, steps=9, evaluate_every=3, halving=2)
    searches = [
        (prepared(name), CANDIDATES[:k], cutting) for name, k in (("intent", 4), ("slots", 2), ("same_issue", 2))
    ]
    cohort = cohort_of(model, searches, tmp_path / "all", room=5)
    entered = []
    original = cohort._enter
    cohort._enter = lambda s: (entered.append((s, cohort.step)), original(s))
    together = cohort.run()
    assert [s for s, _ in entered] == [0, 1, 2] and entered[2][1] > entered[0][1]
    for s, (task, candidates, how) in enumerate(searches):
        alone = train(model, task, candidates, tmp_path / f"alone{s}", how)
        for one, other in zip(together[s], alone, strict=True):
            assert one.cut == other.cut
            assert_same(one, other)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_cached_equals_computed(family, backbone, prepared, tmp_path):
    model, task = backbone(family), prepared("slots", family)
    chosen = [replace(CANDIDATES[0], first_layer=k) for k in (0, 1, 2)]
    plain = train(model, task, chosen, tmp_path / "plain")
    trunks = Trunks(model, tmp_path / "trunk", 10**9)
    cached = train(model, task, chosen, tmp_path / "cached", trunks=trunks)
    assert len(list((tmp_path / "trunk").glob("*.trunk"))) == 4  # layers 1 and 2 of train and dev
    for one, other in zip(plain, cached, strict=True):
        assert_same(one, other, atol=1e-5)


def test_halving_keeps_the_best_of_each_start(backbone, prepared, tmp_path):
    """Four cells of each start: cut to two and to one, the ones with the best dev scores so far."""
    model, task = backbone("bert"), prepared("intent")
    cells = [Candidate(s, p, 0, r, 0) for s in ("scratch", "shared") for p in (2, 3) for r in (1e-2, 1e-7)]
    settings = replace(SETTINGS, steps=12, evaluate_every=2, halving=2)
    found = train(model, task, cells, tmp_path, settings)
    looks = sorted({step for one in found for step, _, _ in one.curve})
    assert looks == [3, 6, 8, 10, 12]  # where cells are cut, and regularly once the last cut is made
    for start in ("scratch", "shared"):
        own = [one for one in found if one.candidate.start == start]
        assert sorted((one.cut for one in own), key=str) == [3, 3, 6, None]
        first = {one.candidate.name: (one.curve[0][1], -one.curve[0][2]) for one in own}
        left = [one for one in own if one.cut == 3]
        assert max(first[one.candidate.name] for one in left) <= min(
            first[one.candidate.name] for one in own if one.cut != 3
        )
        assert all(one.curve[-1][0] == (one.cut or 12) for one in own)


def test_every_candidate_has_its_own_learning_rate_and_its_head_a_share(backbone, prepared, tmp_path):
    """One step of Adam moves every number by the learning rate, whatever the gradient."""
    model, task = backbone("bert"), prepared("intent")
    candidates = [Candidate("scratch", 3, 0, rate, 0) for rate in (1e-3, 1e-2)]
    settings = replace(SETTINGS, steps=1, warmup=0.0, evaluate_every=1, head_share=0.1)
    prompt = start_for(model).scratch(model, 3, 0, 0)
    weight = HeadBank([task.head("mean")], model.info.width, [0]).weights[0]
    for one in train(model, task, candidates, tmp_path, settings):
        for after, before, share in ((one.prompt, prompt, 1.0), (one.weight, weight, 0.1)):
            moved = (after - before).abs()
            typical = float(moved[moved > 0].detach().median())
            assert typical == pytest.approx(share * one.candidate.learning_rate, rel=0.01)


def test_a_network_moves_its_prompt_about_the_learning_rate_and_the_head_beside_it_all_of_it(
    backbone, prepared, tmp_path
):
    """At the full rate, prefix tuning's network would move the prompt by its width times more."""
    model, task = backbone("bert"), prepared("intent")
    start, rate = Start(None, {}, "normal", Recipe("prefix", "mlp")), 1e-2
    search = Search(task, [Candidate("scratch", 3, 0, rate, 0)], start, replace(SETTINGS, steps=1, warmup=0.0))
    ((one,),) = Cohort(model, [search], CohortSettings("mean"), LocalWorld(tmp_path)).run()
    moved = (one.prompt - start.scratch(model, 3, 0, 0)).abs()
    assert float(moved.max()) < rate and float(moved.median()) > rate / 20
    head = (one.weight - HeadBank([task.head("mean")], model.info.width, [0]).weights[0]).detach().abs()
    assert float(head[head > 0].median()) == pytest.approx(SETTINGS.head_share * rate, rel=0.01)


def test_the_same_seed_gives_the_same_prompts_to_the_last_bit(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("intent")
    first = train(model, task, CANDIDATES, tmp_path / "a")
    second = train(model, task, CANDIDATES, tmp_path / "b")
    assert all(torch.equal(one.prompt, other.prompt) for one, other in zip(first, second, strict=True))


def test_resumed_equals_uninterrupted_to_the_last_bit(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("slots")
    whole = train(model, task, CANDIDATES, tmp_path / "whole")

    with pytest.raises(Stop):
        train(model, task, CANDIDATES, tmp_path, world=Interrupted(tmp_path / "parts", at=5))
    assert LocalWorld(tmp_path / "parts").latest().name == "00000003"
    resumed = train(model, task, CANDIDATES, tmp_path / "parts")
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one.prompt, other.prompt) and torch.equal(one.weight, other.weight)
        assert one.curve == other.curve and one.step == other.step


class Killed(LocalWorld):
    def event(self, **fields):
        if fields.get("done") == 7:
            os.kill(os.getpid(), signal.SIGKILL)


def dies_training(model, folder, threads):
    torch.set_num_threads(threads)
    train(load_backbone(model), PreparedTask.load(folder / "task"), CANDIDATES, None, world=Killed(folder / "parts"))


def test_a_killed_process_continues_from_its_checkpoint(backbone, prepared, tmp_path):
    """SIGKILL in the middle of training, then the same call again."""
    model, task = backbone("bert"), prepared("intent")
    whole = train(model, task, CANDIDATES, tmp_path / "whole")
    task.save(tmp_path / "task")
    killed(dies_training, str(model.info.folder), tmp_path, torch.get_num_threads())
    assert LocalWorld(tmp_path / "parts").latest().name == "00000006"
    resumed = train(model, task, CANDIDATES, tmp_path / "parts")
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one.prompt, other.prompt) and one.curve == other.curve


def test_a_candidate_that_stops_improving_leaves_and_changes_no_other(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("intent")
    hopeless = Candidate("scratch", 2, 0, 1e-7, 9)
    settings = replace(SETTINGS, steps=12, evaluate_every=2, patience=2)
    both = train(model, task, [hopeless, CANDIDATES[0]], tmp_path / "both", settings)
    (alone,) = train(model, task, [CANDIDATES[0]], tmp_path / "alone", settings)
    assert len(both[0].curve) < 6
    assert both[1].step == alone.step and torch.allclose(both[1].prompt, alone.prompt, atol=1e-4)


def test_continued_after_the_last_candidate_has_left(backbone, prepared, tmp_path):
    """Killed between the last checkpoint and the writing of the results: nothing is left to train, all is there."""
    model, task = backbone("bert"), prepared("intent")
    settings = replace(SETTINGS, steps=12, evaluate_every=2, patience=1)
    hopeless = [Candidate("scratch", 2, 0, 1e-7, seed) for seed in (1, 2)]
    first = train(model, task, hopeless, tmp_path, settings)
    assert max(one.curve[-1][0] for one in first) < 12
    again = train(model, task, hopeless, tmp_path, settings)
    assert all(torch.equal(one.prompt, other.prompt) for one, other in zip(first, again, strict=True))
    assert [one.curve for one in first] == [one.curve for one in again]


def test_the_backbone_is_never_written(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("intent")
    before = model.checksum()
    train(model, task, CANDIDATES[:2], tmp_path)
    assert model.checksum() == before
    with torch.no_grad():
        next(model.model.parameters()).view(-1)[0] += 1e-3
    try:
        assert model.checksum() != before
    finally:
        with torch.no_grad():
            next(model.model.parameters()).view(-1)[0] -= 1e-3


def test_frozen_means_evaluation_mode(backbone):
    model = backbone("bert")
    model.train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["intent", "slots"])
def test_baked_equals_trained_to_the_last_bit(name, backbone, prepared, tmp_path):
    """What leaves training as plain tensors answers as the model did that was trained."""
    model, task = backbone("bert"), prepared(name)
    settings = replace(SETTINGS, steps=4, evaluate_every=4)
    cohort = cohort_of(model, [(task, CANDIDATES, settings)], tmp_path)
    (trained,) = cohort.run()
    live = answer_split(cohort.model, task, "dev", [(n, n) for n in range(len(CANDIDATES))], rows_per_batch=64)
    baked = answer_together(model, task, "dev", trained, pooling="mean", rows_per_batch=64)
    assert torch.equal(live.logits, baked.logits)


def test_saved_and_loaded_equals_saved(backbone, prepared, tmp_path):
    trained = train(backbone("bert"), prepared("intent"), CANDIDATES, tmp_path / "run")
    save_trained(tmp_path, trained)
    for one, other in zip(trained, load_trained(tmp_path), strict=True):
        assert one.candidate == other.candidate and one.curve == other.curve
        assert torch.equal(one.prompt, other.prompt) and torch.equal(one.bias, other.bias)
