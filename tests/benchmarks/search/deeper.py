"""A backbone of MiniLM's shape with more layers, and members of an ensemble on it.

Weights and prompts are random: what answering costs does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

import torch

from pipeline.backbone import Backbone, describe, load_backbone, resolve_dtype
from pipeline.tasks import PreparedTask
from pipeline.training.candidates import Candidate, Trained
from tests.benchmarks.device import DEVICE

MEMBERS, PLACES = 5, 16


@contextmanager
def deeper_backbone(layers: int) -> Iterator[Backbone]:
    """MiniLM's shape with so many layers, in the dtype that a run would choose here."""
    from transformers import AutoConfig, AutoModel

    source = Path(describe("minilm").folder)
    with TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(source, num_hidden_layers=layers)
        AutoModel.from_config(config).save_pretrained(folder)
        for file in source.glob("*token*"):
            copy(file, folder)
        copy(source / "vocab.txt", folder)
        yield load_backbone(folder, dtype=resolve_dtype("auto"), device=DEVICE)


def untrained(backbone: Backbone, task: PreparedTask, depth: int) -> list[Trained]:
    """Five members whose prompts begin at a layer."""
    shape, outputs = backbone.info.prompt_shape(PLACES, depth, True), len(task.labels)
    draw = torch.Generator().manual_seed(0)
    return [
        Trained(
            candidate=Candidate("scratch", PLACES, depth, 1e-2, seed),
            score=0.0,
            loss=0.0,
            step=0,
            curve=(),
            prompt=torch.randn(shape, generator=draw),
            weight=torch.randn(outputs, backbone.info.width, generator=draw),
            bias=torch.zeros(outputs),
        )
        for seed in range(MEMBERS)
    ]
