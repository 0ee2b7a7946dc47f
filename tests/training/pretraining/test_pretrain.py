"""The shared prompt does not depend on how many workers train it, nor on being interrupted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prompts import nested_places
from pipeline.training.loop import gold_loss
from pipeline.training.passes import splitting
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.pretraining.shared import PretrainSettings
from pipeline.training.results import load_shared, save_shared
from pipeline.training.world import LocalWorld, sum_over_ranks
from tests.training.worlds import Interrupted, Stop

SETTINGS = PretrainSettings(
    steps=6,
    rows=9,
    learning_rate=1e-2,
    warmup=0.3,
    exponent=0.5,
    cap=None,
    seed=1,
    length=4,
    init="normal",
    first_layer=0,
    pooling="mean",
    checkpoint_every=4,
)


@dataclass
class Rank:
    """A place in a group that has no other members: shows which rows a rank would take."""

    rank: int
    size: int

    def event(self, **fields):
        pass

    def save(self, write, step):
        raise AssertionError("no checkpoint is due")

    def latest(self):
        return None


@pytest.fixture
def tasks(prepared):
    return {name: prepared(name) for name in ("intent", "slots", "same_issue")}


def gradients(one, passes, size=1):
    """Of a step's passes, added up over so many ranks."""
    for parameter in one.model.trainable():
        parameter.grad = None
    for batch in passes:
        one.model.backbone.backward(gold_loss(one.model(batch), batch))
    found = one.trainer.gradients()
    sum_over_ranks(found, size)
    return [gradient.clone() for gradient in found]


@pytest.mark.parametrize("cost", [0, 10**6])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_any_number_of_workers_and_of_passes_gives_the_same_gradients(size, cost, backbone, tasks, monkeypatch):
    """The ranks' gradients, each of its own rows of several tasks, add up to those of one worker with all rows."""
    model = backbone("bert")

    def of(rank, size):
        one = Pretraining(model, tasks, SETTINGS, Rank(rank, size))
        passes = one.passes_at(2)
        heads = [head for batch in passes for head in batch.head.tolist()]
        return gradients(one, passes), heads, len(passes)

    monkeypatch.setitem(splitting.PASS_COST, "cpu", 10**6)
    whole, heads, passes = of(0, 1)
    assert passes == 1
    monkeypatch.setitem(splitting.PASS_COST, "cpu", cost)
    parts = [of(rank, size) for rank in range(size)]
    counts = {count for *_, count in parts}
    assert len(counts) == 1 and (counts == {1}) == bool(cost)
    assert len(set(heads)) > 1 and sorted(heads) == sorted(h for _, part, _ in parts for h in part)
    for place, expected in enumerate(whole):
        added = sum(part[place] for part, *_ in parts)
        assert torch.allclose(added, expected, atol=1e-6, rtol=1e-4)


def test_resumed_equals_uninterrupted_to_the_last_bit(backbone, tasks, tmp_path):
    model = backbone("bert")
    whole = Pretraining(model, tasks, SETTINGS, LocalWorld(tmp_path / "whole")).run()

    with pytest.raises(Stop):
        Pretraining(model, tasks, SETTINGS, Interrupted(tmp_path / "parts", at=5)).run()
    torch.manual_seed(12345)  # whatever happens in between
    resumed = Pretraining(model, tasks, SETTINGS, LocalWorld(tmp_path / "parts")).run()
    assert torch.equal(whole.prompt, resumed.prompt) and whole.curve == resumed.curve
    for name in tasks:
        assert torch.equal(whole.heads[name][0], resumed.heads[name][0])


@given(length=st.integers(1, 64), seed=st.integers(0, 5), step=st.integers(0, 10**6))
def test_a_step_trains_a_prefix_and_every_other_step_the_whole(length, seed, step):
    places = nested_places(length, seed, step)
    assert 1 <= places <= length and places == nested_places(length, seed, step)
    assert step % 2 or places == length


def test_halves_quarters_and_eighths_are_drawn_about_as_often():
    drawn = Counter(nested_places(64, 0, step) for step in range(1, 4001, 2))
    assert min(drawn) == 8 and max(drawn) == 64
    octaves = [sum(n for places, n in drawn.items() if low <= places < 2 * low) for low in (8, 16, 32)]
    assert max(octaves) < 1.2 * min(octaves)
    assert {nested_places(4, 0, step) for step in range(200)} == {1, 2, 3, 4}


def test_a_nested_step_moves_the_places_it_draws_and_no_other(backbone, tasks, tmp_path):
    one = Pretraining(backbone("bert"), tasks, replace(SETTINGS, length=8), LocalWorld(tmp_path))
    one.step = next(step for step in range(1, 99, 2) if one.places_at(step) == 3)
    before = one.model.bank.bake(0)
    one.schedule = replace(one.schedule, steps=200)
    one._train_step()
    moved = (one.model.bank.bake(0) - before).abs().amax(dim=(0, 1, 2, 4))
    assert bool((moved[:3] > 0).all()) and not moved[3:].any()


def test_a_checkpoint_holds_no_backbone(backbone, tasks, tmp_path):
    model = backbone("bert")
    world = LocalWorld(tmp_path)
    one = Pretraining(model, tasks, replace(SETTINGS, checkpoint_every=2), world)
    one.run()
    files = list(world.latest().iterdir())
    trained = sum(p.numel() for p in one.model.trainable())
    assert {file.name for file in files} == {"state.safetensors", "state.json"}
    # values, two moments and the optimizer's counters, the random states: nothing of the backbone's size
    assert (world.latest() / "state.safetensors").stat().st_size < 4 * 3 * trained + 20_000
    assert len(list((tmp_path / "checkpoints").iterdir())) <= 2


def test_training_helps(backbone, tasks, tmp_path):
    settings = replace(SETTINGS, steps=40, learning_rate=2e-2, checkpoint_every=0)
    shared = Pretraining(backbone("bert"), tasks, settings, LocalWorld(tmp_path)).run()
    assert shared.curve[-1][1] < shared.curve[0][1]


def test_saved_and_loaded_equals_saved(backbone, tasks, tmp_path):
    shared = Pretraining(backbone("bert"), tasks, replace(SETTINGS, steps=2), LocalWorld(tmp_path)).run()
    save_shared(tmp_path, shared)
    loaded = load_shared(tmp_path)
    assert torch.equal(loaded.prompt, shared.prompt) and loaded.curve == shared.curve
    assert torch.equal(loaded.heads["slots"][1], shared.heads["slots"][1])


def test_one_rank_needs_no_process_group():
    tensors = [torch.ones(3)]
    sum_over_ranks(tensors, 1)
    assert torch.equal(tensors[0], torch.ones(3))
