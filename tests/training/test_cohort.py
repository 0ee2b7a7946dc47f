"""Candidates that train together end where they would have ended alone, and an interrupted cohort where it would
have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.training.answering import answer_together
from pipeline.training.cohort import Candidate, Cohort, CohortSettings
from pipeline.training.evaluate import answer_split
from pipeline.training.results import load_trained, save_trained
from pipeline.training.starts import Start
from pipeline.training.world import LocalWorld
from tests.training.worlds import Interrupted, Stop

SETTINGS = CohortSettings(
    steps=8, rows=6, warmup=0.25, evaluate_every=4, patience=0, seed=3, pooling="mean", checkpoint_every=3
)
CANDIDATES = [
    Candidate("scratch", 4, 1e-2, 0),
    Candidate("scratch", 2, 3e-3, 1),
    Candidate("shared", 6, 2e-2, 0),
    Candidate("shared", 3, 1e-2, 5),
]


def start_for(model, init="normal"):
    info = model.info
    shared = torch.randn(info.layers, 2, info.heads, 5, info.head_size, generator=torch.Generator().manual_seed(1))
    return Start(prompt=shared, heads={}, init=init, first_layer=0)


def train(model, task, candidates, folder, settings=SETTINGS, init="normal"):
    return Cohort(model, task, candidates, start_for(model, init), settings, LocalWorld(folder)).run()


@pytest.mark.parametrize(("family", "name"), [("bert", "intent"), ("llama", "slots"), ("gpt2", "same_issue")])
def test_together_equals_alone(family, name, backbone, prepared, tmp_path):
    model, task = backbone(family), prepared(name, family)
    pooling = "mean" if family == "bert" else "last"
    settings = replace(SETTINGS, pooling=pooling)
    together = train(model, task, CANDIDATES, tmp_path / "together", settings)
    for n, candidate in enumerate(CANDIDATES):
        (alone,) = train(model, task, [candidate], tmp_path / f"alone{n}", settings)
        one = together[n]
        assert one.candidate == candidate and one.step == alone.step
        assert one.score == pytest.approx(alone.score, abs=1e-6)
        for name in ("prompt", "weight", "bias"):
            assert torch.allclose(getattr(one, name), getattr(alone, name), atol=1e-4, rtol=1e-3), name


def test_together_equals_alone_on_minilm(backbone, prepared, tmp_path):
    model, task = backbone("minilm"), prepared("orders", "minilm", 12)
    settings = replace(SETTINGS, steps=4, rows=4, evaluate_every=4, checkpoint_every=0)
    chosen = [CANDIDATES[0], CANDIDATES[3]]
    together = train(model, task, chosen, tmp_path / "together", settings, init="vocabulary")
    (alone,) = train(model, task, [CANDIDATES[3]], tmp_path / "alone", settings, init="vocabulary")
    assert torch.allclose(together[1].prompt, alone.prompt, atol=1e-4)
    assert torch.allclose(together[1].weight, alone.weight, atol=1e-4)


def test_every_candidate_has_its_own_learning_rate(backbone, prepared, tmp_path):
    """One step of Adam moves every number by the learning rate, whatever the gradient."""
    model, task = backbone("bert"), prepared("intent")
    candidates = [Candidate("scratch", 3, rate, 0) for rate in (1e-3, 1e-2)]
    settings = replace(SETTINGS, steps=1, warmup=0.0, evaluate_every=1, checkpoint_every=0)
    begun = start_for(model).scratch(model, 3, 0)
    for one in train(model, task, candidates, tmp_path, settings):
        moved = (one.prompt - begun).abs()
        typical = float(moved[moved > 0].median())
        assert typical == pytest.approx(one.candidate.learning_rate, rel=0.01)


def test_the_same_seed_gives_the_same_prompts_to_the_last_bit(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("intent")
    first = train(model, task, CANDIDATES, tmp_path / "a")
    second = train(model, task, CANDIDATES, tmp_path / "b")
    assert all(torch.equal(one.prompt, other.prompt) for one, other in zip(first, second, strict=True))


def test_resumed_equals_uninterrupted_to_the_last_bit(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("slots")
    whole = train(model, task, CANDIDATES, tmp_path / "whole")

    with pytest.raises(Stop):
        Cohort(model, task, CANDIDATES, start_for(model), SETTINGS, Interrupted(tmp_path / "parts", at=5)).run()
    assert LocalWorld(tmp_path / "parts").latest().name == "00000003"
    resumed = train(model, task, CANDIDATES, tmp_path / "parts")
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one.prompt, other.prompt) and torch.equal(one.weight, other.weight)
        assert one.curve == other.curve and one.step == other.step


def test_a_killed_process_continues_from_its_checkpoint(backbone, prepared, tmp_path):
    """SIGKILL in the middle of training, then the same call again."""
    model, task = backbone("bert"), prepared("intent")
    whole = train(model, task, CANDIDATES, tmp_path / "whole")
    task.save(tmp_path / "task")
    script = f"""
import os, signal, torch
from pathlib import Path
from pipeline.backbone import load_backbone
from pipeline.tasks import PreparedTask
from pipeline.training.answering import answer_together
from pipeline.training.cohort import Cohort
from pipeline.training.world import LocalWorld
from tests.training.test_cohort import CANDIDATES, SETTINGS, start_for
class Killed(LocalWorld):
    def event(self, **fields):
        if fields["done"] == 7:
            os.kill(os.getpid(), signal.SIGKILL)
torch.set_num_threads({torch.get_num_threads()})
model = load_backbone({str(model.info.folder)!r})
task = PreparedTask.load(Path({str(tmp_path / "task")!r}))
Cohort(model, task, CANDIDATES, start_for(model), SETTINGS, Killed(Path({str(tmp_path / "parts")!r}))).run()
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert LocalWorld(tmp_path / "parts").latest().name == "00000006"
    resumed = train(model, task, CANDIDATES, tmp_path / "parts")
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one.prompt, other.prompt) and one.curve == other.curve


def test_a_candidate_that_stops_improving_leaves_and_changes_no_other(backbone, prepared, tmp_path):
    model, task = backbone("bert"), prepared("intent")
    hopeless = Candidate("scratch", 2, 1e-7, 9)
    settings = replace(SETTINGS, steps=12, evaluate_every=2, patience=2, checkpoint_every=0)
    both = train(model, task, [hopeless, CANDIDATES[0]], tmp_path / "both", settings)
    (alone,) = train(model, task, [CANDIDATES[0]], tmp_path / "alone", settings)
    assert len(both[0].curve) < 6
    assert both[1].step == alone.step and torch.allclose(both[1].prompt, alone.prompt, atol=1e-4)


def test_continued_after_the_last_candidate_has_left(backbone, prepared, tmp_path):
    """Killed between the last checkpoint and the writing of the results: nothing is left to train, all is there."""
    model, task = backbone("bert"), prepared("intent")
    settings = replace(SETTINGS, steps=12, evaluate_every=2, patience=1)
    hopeless = [Candidate("scratch", 2, 1e-7, seed) for seed in (1, 2)]
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
    settings = replace(SETTINGS, steps=4, evaluate_every=4, checkpoint_every=0)
    cohort = Cohort(model, task, CANDIDATES, start_for(model), settings, LocalWorld(tmp_path))
    trained = cohort.run()
    live = answer_split(cohort.model, task, "dev", [(n, n) for n in range(len(CANDIDATES))], rows_per_batch=64)
    baked = answer_together(model, task, "dev", trained, first_layer=0, pooling="mean", rows_per_batch=64)
    assert torch.equal(live.logits, baked.logits)


def test_saved_and_loaded_equals_saved(backbone, prepared, tmp_path):
    trained = train(backbone("bert"), prepared("intent"), CANDIDATES, tmp_path / "run")
    save_trained(tmp_path, trained)
    for one, other in zip(trained, load_trained(tmp_path), strict=True):
        assert one.candidate == other.candidate and one.curve == other.curve
        assert torch.equal(one.prompt, other.prompt) and torch.equal(one.bias, other.bias)
