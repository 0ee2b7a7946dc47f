"""On a GPU candidates that train together end where they end alone, and what is interrupted goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from itertools import chain
from pathlib import Path

import pytest
import torch

from pipeline.backbone import describe
from pipeline.backbone.sharding import what_zero3_lacks
from pipeline.registry import Member, Predictor, load_artifact, save_artifact
from pipeline.tasks import PreparedTask
from pipeline.training.adaptation.finetune import FineTuning, Trainable
from pipeline.training.adaptation.search import Search
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.results import load_trained, save_trained
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.gpu.device import GPU
from tests.registry.made import facts_of
from tests.training import test_methods
from tests.training.adaptation import test_finetune
from tests.training.adaptation.test_cohort import CANDIDATES, assert_same, train
from tests.training.pretraining.test_pretrain import SETTINGS as PRETRAINING
from tests.training.pretraining.test_pretrain import gradients
from tests.training.worlds import Interrupted, Stop

ROOT = Path(__file__).parents[2]
ZERO3 = "tests.gpu.test_training"


@pytest.fixture
def on_gpu(backbone):
    return lambda family: deepcopy(backbone(family)).to(GPU)


@pytest.mark.parametrize(("family", "name"), [("bert", "intent"), ("llama", "slots"), ("gpt2", "same_issue")])
def test_together_equals_alone_with_a_cached_trunk(family, name, on_gpu, prepared, tmp_path):
    model, task = on_gpu(family), prepared(name, family)
    before = model.checksum()
    trunks = Trunks(model, tmp_path / "trunk", 10**9)
    together = train(model, task, CANDIDATES, tmp_path / "together", tokens_per_pass=100, trunks=trunks)
    for n, candidate in enumerate(CANDIDATES):
        (alone,) = train(model, task, [candidate], tmp_path / f"alone{n}")
        assert_same(together[n], alone)
    assert model.checksum() == before


def test_all_methods_in_one_cohort_train_and_answer_alike_when_saved(on_gpu, prepared, tmp_path):
    """Encoders of all kinds; an interrupted cohort goes on where it was; baked equals trained."""
    model, task = on_gpu("bert"), prepared("slots", "bert", 24, 8)
    whole = test_methods.cohort_of(model, test_methods.everything(model, task), LocalWorld(tmp_path / "whole")).run()
    world = Interrupted(tmp_path / "parts", 4)
    with pytest.raises(Stop):
        test_methods.cohort_of(model, test_methods.everything(model, task), world).run()
    again = test_methods.cohort_of(model, test_methods.everything(model, task), LocalWorld(tmp_path / "parts")).run()
    for one, other in zip(chain(*whole), chain(*again), strict=True):
        assert_same(one, other)
    for s, trained in enumerate(whole):
        (tmp_path / str(s)).mkdir()
        save_trained(tmp_path / str(s), trained)
        loaded = load_trained(tmp_path / str(s))
        answers = [answer_together(model, task, "dev", them, pooling="mean") for them in (trained, loaded)]
        assert torch.equal(*(one.probabilities for one in answers))


def test_pretrained_on_a_gpu_as_on_the_processor(backbone, on_gpu, prepared, tmp_path):
    tasks = {name: prepared(name) for name in ("intent", "slots", "same_issue")}
    here = Pretraining(backbone("bert"), tasks, PRETRAINING, LocalWorld(tmp_path / "here")).run()
    there = Pretraining(on_gpu("bert"), tasks, PRETRAINING, LocalWorld(tmp_path / "there")).run()
    # Adam's step follows a gradient's sign, so noise around zero moves a few numbers by a whole step: compare the rest.
    assert ((here.prompt - there.prompt).abs() < 1e-4).float().mean() > 0.99
    assert [loss for _, loss in here.curve] == pytest.approx([loss for _, loss in there.curve], rel=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fine_tuning_trains_the_copy(dtype, on_gpu, prepared, tmp_path):
    model, task = on_gpu("bert"), prepared("slots")
    copy = Trainable(model.info, dtype, GPU)
    before = copy.checksum()
    search = Search(task, [test_finetune.bare(1e-3, 0)], test_finetune.HEAD, test_finetune.SETTINGS)
    one = FineTuning(copy, search, test_finetune.HOW, LocalWorld(tmp_path))
    ((found,),) = one.run()
    assert copy.checksum() != before and found.curve[-1][2] < found.curve[0][2]
    assert len(one.told(task, "dev")) == task.answers_per_row("dev").sum()


def test_an_artifact_trained_on_a_gpu_answers_on_a_processor_and_back(backbone, on_gpu, prepared, tmp_path):
    model, task = on_gpu("bert"), prepared("intent")
    found = train(model, task, CANDIDATES[:2], tmp_path / "trained")
    facts = facts_of(model, name="intent", labels=tuple(task.labels), combine="mean")
    save_artifact(tmp_path / "artifact", [Member(one.prompt, one.weight, one.bias) for one in found], facts)
    asked = [{"text": text} for text in ("cancel my order", "where is the phone", "I want a refund now")]
    answers = [
        Predictor(one, {"intent": load_artifact(tmp_path / "artifact")}).predict(asked)
        for one in (model, backbone("bert"))
    ]
    for one, other in zip(*answers, strict=True):
        assert one["label"] == other["label"] and one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_sharded_equals_replicated(prepared, on_gpu, tmp_path):
    """One rank by ZeRO-3 on the GPU, against the backbone held whole."""
    if what_zero3_lacks():
        pytest.skip(f"DeepSpeed cannot start here: {what_zero3_lacks()}")
    for name in ("intent", "slots", "same_issue"):
        prepared(name, room=8).save(tmp_path / name)
    (tmp_path / "model").write_text(str(on_gpu("bert").info.folder))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "-m", ZERO3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    sharded = torch.load(tmp_path / "found.pt", weights_only=True)
    one = _pretraining(on_gpu("bert"), tmp_path)
    expected = gradients(one, one.passes_at(0))
    for theirs, gradient in zip(sharded["gradients"], expected, strict=True):
        assert (theirs - gradient.cpu()).abs().max() <= 1e-5 * gradient.abs().max().cpu()
    assert sharded["unwritten"]


def _pretraining(backbone, folder):
    tasks = {name: PreparedTask.load(folder / name) for name in ("intent", "slots", "same_issue")}
    return Pretraining(backbone, tasks, PRETRAINING, LocalWorld(folder))


def _work(folder: Path) -> None:
    """The one rank."""
    from pipeline.backbone.zero3 import load_sharded

    backbone = load_sharded(describe((folder / "model").read_text()), "float32")
    before = backbone.checksum()
    one = _pretraining(backbone, folder)
    found = [gradient.cpu() for gradient in gradients(one, one.passes_at(0))]
    torch.save({"gradients": found, "unwritten": backbone.checksum() == before}, folder / "found.pt")


if __name__ == "__main__":
    torch.distributed.init_process_group("nccl")
    _work(Path(sys.argv[1]))
