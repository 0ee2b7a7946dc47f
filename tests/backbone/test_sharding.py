"""Sharded equals replicated, on two ranks; and the rule that chooses between them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backbone import describe, load_backbone
from pipeline.backbone.sharding import SHARE_FOR_WEIGHTS, choose_sharding, has_compiler, readable, what_zero3_lacks
from pipeline.errors import InputError
from tests.families import family_backbone
from tests.tiny import states_of
from workflows.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
GB = 10**9
RANKS = 2
RUNS = [("bert", "float32"), ("gpt2", "float32"), ("llama", "float32"), ("minilm", "float32")]
RUNS += [("llama", "bfloat16"), ("minilm", "bfloat16"), ("albert", "float32")]
"""Family and dtype of each run on two ranks; all share one start of DeepSpeed. ALBERT's layers share their weights, and
are computed again on the way back."""


# ------------------------------------------------------------------------------------------------------------ the rule


@given(st.integers(1, 10**13), st.integers(2, 64), st.integers(1, 10**12))
def test_auto_copies_what_fits_and_shares_the_rest(size, workers, memory):
    choice = choose_sharding("auto", backbone_bytes=size, workers=workers, memory_per_worker=memory, compiler=True)
    assert choice.kind == ("none" if size <= int(SHARE_FOR_WEIGHTS * memory) else "zero3")
    assert readable(size) in choice.reason and readable(memory) in choice.reason


def test_one_worker_has_nobody_to_share_with():
    for requested in ("auto", "zero3"):
        choice = choose_sharding(requested, backbone_bytes=9 * GB, workers=1, memory_per_worker=GB, compiler=True)
        assert choice.kind == "none" and "one worker" in choice.reason


def test_what_is_asked_for_is_done():
    small = {"backbone_bytes": GB, "workers": 2, "memory_per_worker": 100 * GB, "compiler": True}
    assert choose_sharding("zero3", **small).kind == "zero3"
    large = choose_sharding("none", **{**small, "backbone_bytes": 90 * GB})
    assert large.kind == "none" and "90.0 GB" in large.reason


def test_workers_that_share_a_gpu_have_a_part_of_its_memory_and_are_told_so():
    machine = Machine(cores=16, memory=500 * GB, gpus=2, gpu_memory=80 * GB)
    assert [machine.memory_per_worker(n) for n in (1, 2, 3, 4, 6)] == [80 * GB, 80 * GB, 40 * GB, 40 * GB, 80 * GB // 3]
    assert Machine(16, 500 * GB, 0, 0).memory_per_worker(5) == 100 * GB
    small = {"backbone_bytes": GB, "memory_per_worker": 40 * GB, "compiler": True}
    shared = choose_sharding("zero3", workers=4, per_gpu=machine.workers_per_gpu(4), **small)
    assert shared.kind == "zero3" and "2 to a GPU" in shared.reason and "pretrain.workers: auto" in shared.reason
    assert "to a GPU" not in choose_sharding("zero3", workers=2, per_gpu=machine.workers_per_gpu(2), **small).reason


def test_without_a_compiler_auto_copies_and_zero3_is_refused():
    machine = {"backbone_bytes": 90 * GB, "workers": 2, "memory_per_worker": 100 * GB, "compiler": False}
    choice = choose_sharding("auto", **machine)
    assert choice.kind == "none" and "g++" in choice.reason and "pip install ninja" in choice.reason
    with pytest.raises(InputError, match=r"backbone\.sharding.*g\+\+ and ninja.*build-essential.*pip install ninja"):
        choose_sharding("zero3", **machine)


def test_a_family_that_cannot_be_shared_out_is_refused_by_name():
    from pipeline.backbone.zero3 import load_sharded

    info = describe(str(family_backbone("t5")))
    machine = {"backbone_bytes": 90 * GB, "workers": 2, "memory_per_worker": GB, "compiler": True, "whole": info.whole}
    choice = choose_sharding("auto", **machine)
    assert choice.kind == "none" and "'t5' cannot be shared out" in choice.reason
    for ask in (lambda: choose_sharding("zero3", **machine), lambda: load_sharded(info, "float32")):
        with pytest.raises(InputError, match=r"backbone\.sharding: the family 't5' cannot be shared out"):
            ask()
    assert describe(str(family_backbone("albert"))).whole is None


def test_an_unknown_sharding_is_an_error_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'zero3'"):
        choose_sharding("zero-3", backbone_bytes=1, workers=2, memory_per_worker=1)


def test_the_compiler_is_looked_for_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("pipeline.backbone.sharding.search_path", lambda: str(tmp_path))
    assert not has_compiler() and {"g++", "ninja"} <= set(what_zero3_lacks())
    for tool in ("g++", "ninja"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    assert has_compiler() and not {"g++", "ninja"} & set(what_zero3_lacks())


def test_an_operator_that_was_installed_compiled_needs_no_compiler(monkeypatch, tmp_path):
    """As in our images, which have none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("pipeline.backbone.sharding.search_path", lambda: str(tmp_path))
    for name in ("deepspeed", "accelerate"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert {"g++", "ninja"} <= set(what_zero3_lacks())
    (tmp_path / "deepspeed" / "ops" / "comm").mkdir(parents=True)
    (tmp_path / "deepspeed" / "ops" / "comm" / "deepspeed_shm_comm_op.cpython-311-x86_64-linux-gnu.so").touch()
    assert what_zero3_lacks() == {}


# ---------------------------------------------------------------------------------------------- one rank of the group


def run_rank(folder: str, models: dict[str, str]) -> None:
    """What each of the two processes does: every run, its findings written as JSON."""
    import torch.distributed as dist

    from pipeline.backbone.zero3 import load_sharded

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {}
    for family, dtype in RUNS:
        info = describe(models[family])
        torch.manual_seed(3)  # a checkpoint without a pooler gets a random one
        sharded = load_sharded(info, dtype, checkpointing=family == "albert")
        torch.manual_seed(3)
        whole = load_backbone(models[family], dtype=dtype)
        found[f"{family} {dtype}"] = compare(sharded, whole, dist.get_rank())
    Path(folder, f"{dist.get_rank()}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def compare(sharded, whole, rank):
    """The sharded backbone's results beside the whole one's, in numbers."""
    dtype = str(next(whole.parameters()).dtype).removeprefix("torch.")
    found = {"dtype": dtype, "before": sharded.checksum(), "whole": whole.checksum()}
    rows, own = all_rows(whole.info), slice(rank, None, RANKS)
    for first_layer in (0, 1):
        kept = [gradient(sharded, rows, own, first_layer, reduce=True)]
        found[f"released {first_layer}"] = released(sharded)
        kept += [gradient(sharded, rows, own, first_layer, reduce=True) for _ in range(2)]  # DeepSpeed now prefetches
        expected = gradient(whole, rows, slice(None), first_layer)
        found[f"size {first_layer}"] = float(expected.abs().max())
        found[f"error {first_layer}"] = [float((one - expected).abs().max()) for one in kept]
        found[f"cosine {first_layer}"] = [
            float(torch.cosine_similarity(k.flatten(), expected.flatten(), 0)) for k in kept
        ]
    with torch.no_grad():
        ids, mask = rows["ids"][own], rows["mask"][own]
        found["bare"] = float((sharded(ids, mask) - whole(ids, mask)).abs().max())
    found["released after evaluation"] = released(sharded)
    found["states"] = float((sharded.states_of(rows["ids"][0]) - whole.states_of(rows["ids"][0])).abs().max())
    sharded(ids, mask)  # with gradients, and no backward pass
    twice = gradient(sharded, rows, own, 0, reduce=True, forwards=2)
    once = gradient(whole, rows, slice(None), 0)
    found["error of two forwards"] = float((twice - once).abs().max())
    found["released at the end"] = released(sharded)
    found["after"] = sharded.checksum()
    found["trainable"] = [name for name, p in sharded.model.module.model.named_parameters() if p.requires_grad]
    found["training"] = any(module.training for module in sharded.train().model.module.modules())
    return found


def all_rows(info):
    """Five rows of three prompts: rank 0 gets prompts 0 and 2, rank 1 prompt 1 alone and shorter rows."""
    draw = torch.Generator().manual_seed(1)
    sizes = torch.tensor([11, 6, 9, 4, 10])
    return {
        "ids": torch.randint(5, info.vocabulary, (5, 11), generator=draw),
        "mask": torch.arange(11) < sizes[:, None],
        "prompt": torch.tensor([0, 1, 2, 1, 0]),
        "bank": torch.randn(info.layers, 3, 2, info.heads, 6, info.head_size, generator=draw),
        "target": torch.randn(11, info.width, generator=draw),
    }


def gradient(backbone, rows, own, first_layer, *, reduce=False, forwards=1):
    """The gradient of the bank [L, 3, 2, H, P, D] from this rank's rows, summed over the ranks if asked."""
    bank = rows["bank"][first_layer:].clone().requires_grad_()
    loss = torch.zeros(())
    for _ in range(forwards):
        states = states_of(bank, rows["prompt"][own], torch.tensor([6, 2, 4]), first_layer)
        width = int(rows["mask"][own].sum(1).max())  # ranks pad to different lengths
        mask = rows["mask"][own][:, :width]
        hidden = backbone(rows["ids"][own][:, :width], mask, prompts=states).float()
        loss = loss + (hidden * rows["target"][:width] * mask[..., None]).sum() / forwards
    backbone.backward(loss)
    if reduce:
        torch.distributed.all_reduce(bank.grad)
    return bank.grad


def released(sharded):
    """Whether every weight but the small ones that stay is an empty placeholder, and some weight is."""
    weights = [p for p in sharded.model.module.model.parameters() if not p.ds_persist]
    return bool(weights) and all(p.ds_status.name == "NOT_AVAILABLE" and p.numel() == 0 for p in weights)


# ------------------------------------------------------------------------------------------------------- what is found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks found, and what they printed."""
    from tests.tiny import FAMILIES, tiny_backbone

    lacking = what_zero3_lacks()
    if lacking:
        pytest.skip(f"DeepSpeed cannot start without {' and '.join(lacking)}")
    folder = tmp_path_factory.mktemp("ranks")
    models = {family: str(tiny_backbone(family)) for family in FAMILIES} | {"minilm": "minilm"}
    models["albert"] = str(family_backbone("albert"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.backbone.test_sharding", str(folder), json.dumps(models)]
    # On a machine with GPUs the two ranks would need one each; the test is about processors.
    fixed = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **group, **fixed, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(RANKS)
    ]
    printed = [process.communicate(timeout=400) for process in running]
    assert all(process.returncode == 0 for process in running), "\n".join(err for _, err in printed)
    found = [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(RANKS)]
    return found, printed


@pytest.fixture(params=[f"{family} {dtype}" for family, dtype in RUNS])
def findings(request, ranks):
    """Both ranks' findings of one run."""
    return [found[request.param] for found in ranks[0]]


def test_gradients_are_the_replicated_ones(findings):
    for found in findings:
        for layer in (0, 1):
            size = found[f"size {layer}"]
            assert size > 1e-3
            if found["dtype"] == "float32":
                assert max(found[f"error {layer}"]) <= 1e-5 * size
            assert min(found[f"cosine {layer}"]) > 0.999


def test_the_backbone_is_the_same_before_and_after_and_the_replicated_one(findings):
    for found in findings:
        assert found["before"] == found["after"] == found["whole"]
        assert found["trainable"] == [] and not found["training"]


def test_weights_are_released_after_every_pass(findings):
    for found in findings:
        assert found["released 0"] and found["released 1"]
        assert found["released after evaluation"] and found["released at the end"]


def test_a_forward_pass_alone_works(findings):
    for found in findings:
        exact = found["dtype"] == "float32"
        assert found["bare"] <= (1e-5 if exact else 0.1)
        assert found["states"] <= (1e-5 if exact else 0.1)


def test_several_forward_passes_before_one_backward(findings):
    for found in findings:
        if found["dtype"] == "float32":
            assert found["error of two forwards"] <= 1e-5 * found["size 0"]


def test_nothing_is_said_on_the_console(ranks):
    for out, err in ranks[1]:
        assert out == ""
        assert "DeepSpeed" not in err and "deprecated" not in err


if __name__ == "__main__":
    run_rank(sys.argv[1], json.loads(sys.argv[2]))
