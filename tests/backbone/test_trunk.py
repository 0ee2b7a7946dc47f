"""What lies below the prompts is a constant: computed once equals computed always, and the cache keeps its bounds."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backbone import load_backbone
from pipeline.backbone.trunk import TrunkFolder
from pipeline.errors import InputError
from tests.tiny import FAMILIES, tiny_backbone

ROOT = Path(__file__).resolve().parents[2]


@cache
def backbone(family):
    return load_backbone("minilm" if family == "minilm" else str(tiny_backbone(family)))


def tokens_of(model, rows=3, width=6):
    ids = torch.randint(5, model.info.vocabulary, (rows, width), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(width) < torch.tensor([width, 2, 4])[:rows, None]
    return ids, mask


@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_the_trunk_is_what_the_model_has_at_each_layer(family):
    """Against transformers' own hidden states, which it collects layer by layer."""
    model = backbone(family)
    ids, mask = tokens_of(model)
    layers = list(range(1, model.info.layers))
    found = model.trunk(ids, mask, None, layers)
    with torch.no_grad():
        out = model.model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    for layer in layers:
        assert torch.allclose(found[layer][mask], out.hidden_states[layer][mask], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_are_not_wanted_do_not_run(family):
    model = backbone(family)
    ran = []
    hooks = [
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, layer in enumerate(model.layers[0])
    ]
    try:
        model.trunk(*tokens_of(model), None, [2])
        assert ran == [0, 1]
    finally:
        for hook in hooks:
            hook.remove()


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6), data=st.data())
def test_rows_come_back_as_they_were_written(lengths, data, tmp_path_factory):
    folder = TrunkFolder(tmp_path_factory.mktemp("trunk"), 10**6)
    path, sizes = folder.path("b", "d", "rows", 1), np.array(lengths, dtype=np.int64)
    states = torch.randn(int(sizes.sum()), 4).to(data.draw(st.sampled_from([torch.float32, torch.bfloat16])))
    assert folder.build([path], states.numel() * states.element_size(), lambda: [([states], 0)])
    opened = folder.open(path, sizes, 4, states.dtype)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5))
    width = max(lengths[row] for row in chosen) + data.draw(st.integers(0, 3))
    taken = opened.take(chosen, width)
    starts = np.cumsum(sizes) - sizes
    for place, row in enumerate(chosen):
        own = states[starts[row] : starts[row] + lengths[row]]
        assert torch.equal(taken[place, : lengths[row]], own)
        assert torch.isfinite(taken[place].float()).all()


def write(folder, name, size=100):
    path = folder.path("b", "d", name, 1)
    return path, folder.build([path], size, lambda: [([torch.zeros(size // 4, 1)], 0)])


def test_the_folder_keeps_its_bound_and_gives_up_what_was_unused_the_longest(tmp_path):
    folder = TrunkFolder(tmp_path, 250)
    (a, _), (b, _) = write(folder, "a"), write(folder, "b")
    os.utime(a, (1, 1))
    os.utime(b, (2, 2))
    assert folder.open(a, np.array([25]), 1, torch.float32) is not None  # used again: now b is the oldest
    c, there = write(folder, "c")
    assert there and a.exists() and c.exists() and not b.exists()
    big, there = write(folder, "big", 300)
    assert not there and not big.exists() and a.exists() and c.exists()  # nothing is given up in vain


def test_what_is_there_is_not_computed_again(tmp_path):
    folder = TrunkFolder(tmp_path, 10**6)
    path, _ = write(folder, "a")

    def never():
        raise AssertionError("computed again")

    assert folder.build([path], 100, never)


def test_an_interrupted_build_leaves_nothing_that_is_read(tmp_path):
    folder = TrunkFolder(tmp_path, 10**6)
    path = folder.path("b", "d", "rows", 1)

    def broken():
        yield [torch.zeros(5, 1)], 0
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        folder.build([path], 100, broken)
    assert folder.open(path, np.array([25]), 1, torch.float32) is None and not list(tmp_path.glob("*.part"))
    path.write_bytes(b"cut short")
    assert folder.open(path, np.array([25]), 1, torch.float32) is None
    assert write(folder, "rows")[1] and path.stat().st_size == 100


def test_two_processes_build_once(tmp_path):
    script = f"""
import time, torch
from pathlib import Path
from pipeline.backbone.trunk import TrunkFolder
folder = TrunkFolder(Path({str(tmp_path / "trunk")!r}), 10**6)
def compute():
    with open({str(tmp_path / "built")!r}, "a") as file:
        file.write("x")
    time.sleep(0.5)
    yield [torch.ones(25, 1)], 0
assert folder.build([folder.path("b", "d", "rows", 1)], 100, compute)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert (tmp_path / "built").read_text() == "x"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="trunk cache cannot be written"):
        write(TrunkFolder(tmp_path / "file", 10**6), "a")
