"""Pretraining over two ranks that share the backbone out gives the gradients of one process that holds it whole."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.backbone import describe, load_backbone
from pipeline.backbone.sharding import what_zero3_lacks
from pipeline.prompts import Recipe
from pipeline.tasks import PreparedTask
from pipeline.training.passes import splitting
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.world import LocalWorld
from tests.tiny import tiny_backbone
from tests.training.pretraining.test_pretrain import SETTINGS, Rank, gradients

ROOT = Path(__file__).parents[3]
NAMES = ("intent", "slots", "same_issue")
FAMILIES = ("minilm", "bert", "llama")
"""All share one start of DeepSpeed."""

UPPER = replace(SETTINGS, first_layer=1)
"""Prompts above layer 0: what lies below runs once, without gradients, and is not gathered again."""

AMONG = Recipe("p_tuning", "bilstm+mlp", "{2} text {2}")
"""Prompts among the input embeddings, through a network: both stay outside of what is shared out."""


def load_tasks(folder: Path) -> dict[str, PreparedTask]:
    return {name: PreparedTask.load(folder / name) for name in NAMES}


def apart(one: Pretraining, rank: int):
    """The first step's rows again, in one pass, so dealt that no task is on both ranks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(splitting.PASS_COST, "cpu", 10**6)
        (whole,) = Pretraining(one.model.backbone, one.tasks, SETTINGS, Rank(0, 1)).passes_at(0)
    own = (whole.head == 0) == (rank == 0)
    rows = ("example", "prompt", "head", "weight")  # each row is a unit of its own
    unit = torch.arange(int(own.sum()))
    return replace(whole, unit=unit, **{name: getattr(whole, name)[own] for name in rows})


def work(folder: Path) -> None:
    """One of the two ranks: writes what it found, and what became of the backbone, on rank 0."""
    from pipeline.backbone.zero3 import load_sharded

    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    backbone = load_sharded(describe((folder / "model").read_text()), "float32")
    before = backbone.checksum()
    one = Pretraining(backbone, load_tasks(folder), SETTINGS, Rank(rank, size))
    splitting.PASS_COST["cpu"] = 0  # in as many passes as save any padding
    passes = one.passes_at(0)
    found = {f"dealt.{i}": g for i, g in enumerate(gradients(one, passes, size))}
    found |= {f"apart.{i}": g for i, g in enumerate(gradients(one, [apart(one, rank)], size))}
    upper = Pretraining(backbone, load_tasks(folder), UPPER, Rank(rank, size))
    found |= {f"upper.{i}": g for i, g in enumerate(gradients(upper, upper.passes_at(0), size))}
    among = Pretraining(backbone, load_tasks(folder), SETTINGS, Rank(rank, size), AMONG)
    found |= {f"among.{i}": g for i, g in enumerate(gradients(among, among.passes_at(0), size))}
    for step in range(3):
        one.trainer.update(one.passes_at(step), {0: one.schedule.factor(step)})
    found["trained"] = one.model.bank.bake(0)
    same = backbone.checksum() == before
    if rank == 0:
        told = {"found": found, "passes": len(passes), "checksum": before, "unwritten": same}
        torch.save(told, folder / "found.pt")


@pytest.fixture(scope="module")
def worked(prepared, tmp_path_factory):
    """A folder for each family, with its tasks and what two ranks found."""
    if what_zero3_lacks():
        pytest.skip(f"DeepSpeed cannot start here: {what_zero3_lacks()}")
    folder = tmp_path_factory.mktemp("sharded")
    for family in FAMILIES:
        for name in NAMES:
            prepared(name, family, room=8).save(folder / family / name)
        (folder / family / "model").write_text("minilm" if family == "minilm" else str(tiny_backbone(family)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [*command, "tests.training.pretraining.test_sharded", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_sharded_equals_replicated(family, worked):
    folder = worked / family
    answer = torch.load(folder / "found.pt", weights_only=True)
    backbone = load_backbone((folder / "model").read_text())
    one = Pretraining(backbone, load_tasks(folder), SETTINGS, LocalWorld(folder))
    whole = one.passes_at(0)
    assert len(whole) == 1 < answer["passes"]
    expected = gradients(one, whole)
    for i, gradient in enumerate(expected):
        scale = gradient.abs().max()
        assert (answer["found"][f"dealt.{i}"] - gradient).abs().max() <= 1e-5 * scale
        assert (answer["found"][f"apart.{i}"] - gradient).abs().max() <= 1e-5 * scale
    upper = Pretraining(backbone, load_tasks(folder), UPPER, LocalWorld(folder))
    for i, gradient in enumerate(gradients(upper, upper.passes_at(0))):
        assert (answer["found"][f"upper.{i}"] - gradient).abs().max() <= 1e-5 * gradient.abs().max()
    among = Pretraining(backbone, load_tasks(folder), SETTINGS, LocalWorld(folder), AMONG)
    for i, gradient in enumerate(gradients(among, among.passes_at(0))):
        assert (answer["found"][f"among.{i}"] - gradient).abs().max() <= 1e-5 * gradient.abs().max()
    assert answer["unwritten"] and answer["checksum"] == backbone.checksum()
    for step in range(3):
        one.trainer.update(one.passes_at(step), {0: one.schedule.factor(step)})
    # Adam's step follows a gradient's sign, so noise around zero moves a few numbers by a whole step: compare the rest.
    close = (answer["found"]["trained"] - one.model.bank.bake(0)).abs() < 1e-4
    assert close.float().mean() > 0.99


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    for family in FAMILIES:
        work(Path(sys.argv[1]) / family)
