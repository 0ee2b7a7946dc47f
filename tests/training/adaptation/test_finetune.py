"""Full fine-tuning beside prompts: the same steps and rows, on a copy; and trainings that end by the clock."""

from __future__ import annotations

import pytest
import torch

from pipeline.prompts import Recipe
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.finetune import FineTuning, Trainable, bare
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.adaptation.timed import TimedSearch
from pipeline.training.candidates import Candidate
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.loop import Schedule
from pipeline.training.starts import Start
from pipeline.training.world import LocalWorld

SETTINGS = SearchSettings(steps=6, rows=6, warmup=0.25, evaluate_every=2, patience=0, seed=3)
HEAD = Start(None, {}, "normal", Recipe("head"))
HOW = CohortSettings("mean", checkpoint_every=0)


def training(model, task, folder, rate=1e-3):
    copy = Trainable(model.info, "float32")
    search = Search(task, [bare(rate, 0)], HEAD, SETTINGS)
    return copy, FineTuning(copy, search, HOW, LocalWorld(folder))


@pytest.mark.parametrize(("family", "name"), [("bert", "slots"), ("llama", "urgency")])
def test_the_copy_is_trained_and_the_shared_backbone_is_not(family, name, backbone, prepared, tmp_path):
    model, task = backbone(family), prepared(name, family)
    before = model.checksum()
    copy, one = training(model, task, tmp_path)
    assert copy.checksum() == before
    ((found,),) = one.run()
    assert copy.checksum() != before and model.checksum() == before
    assert one.step == SETTINGS.steps and [step for step, _, _ in found.curve] == [2, 4, 6]
    moved = [name for name, value in copy.weights() if not torch.equal(value, dict(model.weights())[name])]
    assert any("embed" in name for name in moved)  # all the way down, not only what a prompt could reach
    assert any(name.startswith(("encoder.layer.2", "layers.2")) for name in moved)


def test_it_ends_with_the_weights_that_were_best_on_dev(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("slots")
    _, one = training(model, task, tmp_path, rate=3e-2)  # too high: the last look is not the best one
    ((found,),) = one.run()
    score = SplitRows(task, "dev").judge(one.told(task, "dev")).score
    assert score == pytest.approx(found.score, abs=1e-6)
    assert found.score == max(value for _, value, _ in found.curve)


def test_where_nothing_moves_it_answers_as_the_frozen_backbone(backbone, prepared, tmp_path):
    """The same forward pass, losses and looks at dev: at a rate of nearly nothing only the (random) head answers."""
    model, task = backbone("bert"), prepared("same_issue")
    _, one = training(model, task, tmp_path, rate=1e-12)
    ((found,),) = one.run()
    search = Search(task, [Candidate("scratch", 0, 2, 1e-12, 0)], HEAD, SETTINGS)
    (((frozen),),) = Cohort(model, [search], HOW, LocalWorld(tmp_path)).run()
    assert [loss for _, _, loss in found.curve] == pytest.approx([loss for _, _, loss in frozen.curve], abs=1e-5)


class Hours:
    """A clock that one look moves on by a quarter of an hour."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 0.25
        return self.now


def test_a_timed_search_ends_when_its_time_is_up_and_looks_at_dev_once(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("slots")
    candidates = [Candidate("scratch", 2, 1, 1e-2, seed) for seed in (0, 1)]
    search = TimedSearch(task, candidates, Start(None, {}, "normal"), SETTINGS, 4.0, Hours())
    cohort = Cohort(model, [search], HOW, LocalWorld(tmp_path))
    (found,) = cohort.run()
    assert search.passed > 4.0 and 2 < cohort.step < 16
    assert [[step for step, _, _ in one.curve] for one in found] == [[cohort.step]] * 2
    assert search.course == (4, 4)


def test_a_timed_search_has_the_schedule_of_its_time(prepared):
    clock = Hours()
    search = TimedSearch(prepared("slots"), [bare(1e-2, 0)], HEAD, SETTINGS, 100.0, clock)
    for now in (1.0, 10.0, 50.0, 99.0):
        clock.now = now - 0.25 + 0.25  # `now` was when it began, a quarter later
        share = (now + 0.25 - 0.25) / 100.0
        assert search.factor() == pytest.approx(Schedule(10_000, 0.25).factor(int(10_000 * share)), abs=0.01)
    clock.now = 200.0
    assert 0.0 < search.factor() < 1e-3
