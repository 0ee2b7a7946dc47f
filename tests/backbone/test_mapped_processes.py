"""One file of mapped weights for all processes: one of them writes it, none has a copy of its own."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch

from pipeline.backbone import describe, mapped
from pipeline.backbone.dtypes import DTYPES
from pipeline.backbone.mapped import read_mapped
from pipeline.backbone.weights import read_weights
from tests.backbone.test_mapped import answer, info_of, only_file
from tests.forks import FORKS
from tests.tiny import tiny_backbone


def race(folder, model, started):
    """One of two processes that want the same weights at the same moment: how often it wrote, and its answer's size."""
    torch.set_num_threads(1)
    info = describe(model)
    written, write = [], mapped._write

    def slowly(*args):
        time.sleep(0.5)  # the other one comes to the lock meanwhile
        written.append(write(*args))

    mapped._write = slowly
    Path(started, str(psutil.Process().pid)).touch()
    deadline = time.monotonic() + 120
    while len(list(Path(started).iterdir())) < 2:
        assert time.monotonic() < deadline, "the other process did not start"
        time.sleep(0.001)
    weights = read_mapped(info, "float32", Path(folder))
    return len(written), size_of(answer(weights, info))


def size_of(states):
    """Of what is around zero: a plain sum would be little more than rounding."""
    return float(states.double().abs().sum())


def test_of_two_processes_at_once_one_writes_and_both_work(tmp_path):
    folder, started = tmp_path / "weights", tmp_path / "started"
    started.mkdir()
    with ProcessPoolExecutor(2, mp_context=FORKS) as pool:
        jobs = [pool.submit(race, str(folder), str(tiny_backbone("bert")), str(started)) for _ in range(2)]
        (first, one), (second, other) = [job.result() for job in jobs]
    assert sorted([first, second]) == [0, 1]
    info = info_of("bert")
    assert one == other == pytest.approx(size_of(answer(read_weights(info, "float32"), info)), rel=1e-6)
    only_file(folder)


def memory(folder):
    """What minilm's weights cost this process alone: dtype → (all weights, growth when loaded, growth when mapped)."""
    torch.set_num_threads(1)
    info, found = describe("minilm"), {}
    for dtype in DTYPES:
        growth = []
        for read in (read_weights, lambda *args: read_mapped(*args, Path(folder))):
            before = psutil.Process().memory_full_info().uss
            model = read(info, dtype)
            touch(model)
            growth.append(psutil.Process().memory_full_info().uss - before)
        found[dtype] = (sum(p.nbytes for p in model.parameters()), *growth)
    return found


def touch(model):
    return sum(float(p.detach().float().sum()) for p in model.parameters())


def test_a_second_process_has_no_copy_of_its_own(tmp_path):
    here = [read_mapped(info_of("minilm"), dtype, tmp_path) for dtype in DTYPES]
    for model in here:
        touch(model)
    with ProcessPoolExecutor(1, mp_context=FORKS) as pool:
        found = pool.submit(memory, str(tmp_path)).result()
    for size, _, growth in found.values():
        assert size > 40e6 and growth < size / 2, found
    # The check on the check: weights that are converted while loading are a copy. (Those that are not are mapped by
    # transformers itself, in the folder they come from.)
    size, loaded, _ = found["bfloat16"]
    assert loaded > 0.8 * size, found
