"""How much memory a training step takes per rank: a whole backbone in one process, and ZeRO-3 over two.

`python -m tests.benchmarks.memory` makes a BERT-large-shaped random checkpoint (335M parameters, fp32), kept in the
temporary folder between runs, and prints one JSON object. Nothing is asserted. Linux only: it reads /proc.

Each phase (loading, stepping) has its own peak. `resident` is everything the kernel counts; `anonymous` leaves out the
mapped pages of files, which the kernel drops when memory is short: while loading, rank 0 has the weight file mapped.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROWS, TOKENS, PLACES, STEPS = 8, 64, 16, 3
RANKS = 2
SLACK = 1.15
CHECKPOINT = Path(tempfile.gettempdir()) / "deepprompt-bert-large-random"


def main() -> None:
    """Runs every part in a process of its own, so that no peak hides in another."""
    if not CHECKPOINT.is_dir():
        run("make")
    (whole,) = run("none")
    shards = run("zero3", RANKS)
    weights, layer, activations = whole["weights"], whole["layer"], whole["activations"]
    ranks = []
    for shard in shards:
        expected = shard["baseline"] + weights // RANKS + 2 * layer + activations
        ranks.append(
            {
                **{key: shard[key] for key in ("baseline", "loading", "stepping", "after")},
                "expected": expected,
                "limit": int(expected * SLACK),
                "holds": shard["stepping"]["resident"] <= expected * SLACK,
                "holds_while_loading": shard["loading"]["resident"] <= expected * SLACK,
            }
        )
    shape = {"rows": ROWS, "tokens": TOKENS, "places": PLACES, "dtype": "float32", "parameters": weights // 4}
    parts = {"weights": weights, "layer": layer, "activations": activations}
    replicated = {key: whole[key] for key in ("baseline", "loading", "stepping", "after")}
    report = {"shape": shape, "bytes": parts, "replicated": replicated, "zero3": ranks}
    print(json.dumps(report, indent=2))


def run(part: str, ranks: int = 1) -> list[dict[str, Any]]:
    """One process per rank; what each of them measured."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        answers = [Path(folder) / f"{rank}.json" for rank in range(ranks)]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.memory", part, str(answer)],
                env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=sys.stderr,
            )
            for rank, answer in enumerate(answers)
        ]
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit(f"a process of the part {part!r} failed")
        return [json.loads(answer.read_text(encoding="utf-8")) for answer in answers]


def make() -> dict[str, Any]:
    """The random checkpoint, complete or not there at all."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=CHECKPOINT.parent) as folder:
        config = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
        BertModel(config).save_pretrained(Path(folder) / "model")
        tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
        fast.save_pretrained(Path(folder) / "model")
        (Path(folder) / "model").rename(CHECKPOINT)
    return {}


def measure(sharding: str) -> dict[str, Any]:
    """Loads the backbone and takes a few training steps."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    if sharding == "zero3":
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed  # noqa: F401  a part of the baseline
    from pipeline.backbone.load import load_backbone
    from pipeline.backbone.source import describe
    from pipeline.backbone.zero3 import load_sharded

    info = describe(str(CHECKPOINT))
    dist.barrier()
    facts: dict[str, Any] = {"baseline": status("VmRSS")}
    with peak(facts, "loading"):
        backbone = load_sharded(info, "float32") if sharding == "zero3" else load_backbone(str(CHECKPOINT))
        dist.barrier()
    step = stepper(backbone, dist.get_rank())
    if sharding == "none":
        facts["activations"] = activations_of(backbone, step)
        facts["weights"] = 4 * sum(p.numel() for p in backbone.model.parameters())
        facts["layer"] = 4 * sum(p.numel() for name, p in backbone.named_parameters() if ".layer.0." in name)
    with peak(facts, "stepping"):
        for _ in range(STEPS):
            step()
        dist.barrier()
    facts["after"] = status("VmRSS")
    dist.destroy_process_group()
    return facts


def stepper(backbone: Any, seed: int) -> Any:
    """One training step of a deep prompt on random rows."""
    import torch

    from pipeline.backbone.attention import PromptStates

    draw = torch.Generator().manual_seed(seed)
    info = backbone.info
    ids = torch.randint(5, info.vocabulary, (ROWS, TOKENS), generator=draw)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, TOKENS // 2 :] = False
    bank = torch.nn.Parameter(torch.zeros(info.layers, 1, 2, info.heads, PLACES, info.head_size))
    optimizer = torch.optim.AdamW([bank], lr=1e-3)
    index, lengths = torch.zeros(ROWS, dtype=torch.long), torch.tensor([PLACES])

    def step() -> None:
        optimizer.zero_grad()
        hidden = backbone(ids, mask, prompts=PromptStates(bank.unbind(0), index, lengths))  # [B, T, M]
        backbone.backward(hidden.float().mean(1).square().sum())
        optimizer.step()

    return step


def activations_of(backbone: Any, step: Any) -> int:
    """Bytes that one step keeps for its backward pass, the weights not counted."""
    import torch

    weights = {p.untyped_storage().data_ptr() for p in backbone.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(kept.values())


@contextmanager
def peak(facts: dict[str, Any], phase: str) -> Iterator[None]:
    """Notes the highest memory of a phase: resident by the kernel's own mark, anonymous by looking often."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the mark of earlier phases
    anonymous, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            anonymous[0] = max(anonymous[0], status("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield
    over.set()
    watcher.join()
    facts[phase] = {"resident": status("VmHWM"), "anonymous": anonymous[0]}


def status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not report {field}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        facts = make() if sys.argv[1] == "make" else measure(sys.argv[1])
        Path(sys.argv[2]).write_text(json.dumps(facts), encoding="utf-8")
