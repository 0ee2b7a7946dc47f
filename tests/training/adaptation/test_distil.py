"""One prompt that learns to answer as an ensemble does."""

from __future__ import annotations

import torch

from pipeline.prompts import mean_vote
from pipeline.training.adaptation.distil import DistilSettings, distil
from pipeline.training.candidates import Candidate
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.training.adaptation.test_cohort import train


def distance(model, task, teachers, student, split="train"):
    """Mean cross entropy of the student's answers under the teachers' joint probabilities."""
    taught = mean_vote(answer_together(model, task, split, teachers, pooling="mean").probabilities)
    logits = answer_together(model, task, split, [student], pooling="mean").logits[0]
    return float(-(taught * logits.log_softmax(-1)).sum(-1).mean())


def test_the_student_comes_closer_to_its_teachers_and_gets_no_worse_on_dev(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("intent")
    candidates = [Candidate("scratch", p, k, 2e-2, s) for p, k, s in ((4, 0, 0), (3, 1, 1), (2, 2, 2))]
    teachers = train(model, task, candidates, tmp_path / "teachers")
    student = teachers[1]
    settings = DistilSettings(steps=40, rows=8, warmup=0.1, evaluate_every=10, seed=0, pooling="mean")
    trunks = Trunks(model, tmp_path / "trunk", 10**9)
    learnt = distil(model, task, teachers, "mean", student, settings, LocalWorld(tmp_path), trunks)
    assert (learnt.score, -learnt.loss) >= (student.score, -student.loss)
    assert learnt.prompt.shape == student.prompt.shape
    if learnt.step:  # dev liked a later state better than the one it began with
        assert distance(model, task, teachers, learnt) < distance(model, task, teachers, student)
    again = distil(model, task, teachers, "mean", student, settings, LocalWorld(tmp_path), trunks)
    assert torch.equal(again.prompt, learnt.prompt)
