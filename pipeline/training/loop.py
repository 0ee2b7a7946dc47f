"""The training loop: the only one. Pretraining and adaptation differ in the batches it is given, not in its steps.

Prompts and heads are plain fp32 tensors outside the (possibly sharded) backbone, so one optimizer, one clipping rule
and one checkpoint serve every sharding and every world size.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.model import PromptedModel
from pipeline.tasks import Answers, Batch
from pipeline.training.world import World, save_json, sum_over_ranks

REFERENCE_RATE = 1e-2
"""The optimizer's own learning rate. A prompt's rate is this times its factor in the bank, so that every prompt ends
where it would alone, whatever trains beside it."""


@dataclass(frozen=True)
class LoopSettings:
    """How long and how to train.

    Args:
        steps: optimizer steps in all; warm-up and decay refer to them.
        warmup: the fraction of steps in which the rate rises linearly; it then falls linearly to zero.
        clip: each prompt with its head is clipped to this gradient norm, by itself.
        checkpoint_every: steps between checkpoints; 0 for none.
    """

    steps: int
    warmup: float = 0.1
    clip: float = 1.0
    checkpoint_every: int = 50

    def rate(self, step: int) -> float:
        """The factor on every learning rate at a step, in (0, 1]."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return (step + 1) / rising
        return max(0.0, (self.steps - step) / max(1, self.steps - rising))


class Trainer:
    """Steps a model's prompts and heads, and can be saved and continued at any world size.

    Args:
        model: the backbone is frozen; the bank and the heads are trained.
        settings: how long and how.
        world: the worker's group.
        groups: which heads belong to which prompt, `groups[h] = n`: they are clipped together.
    """

    def __init__(self, model: PromptedModel, settings: LoopSettings, world: World, groups: list[int]) -> None:
        self.model = model
        self.settings = settings
        self.world = world
        self.groups = torch.tensor(groups, device=model.backbone.device)
        self.optimizer = torch.optim.AdamW(model.trainable(), lr=REFERENCE_RATE, weight_decay=0.0)
        self.step = 0

    def run(
        self,
        batch_at: Callable[[int], Batch],
        after_step: Callable[[int, Answers, Batch], bool],
        extra_state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]] | None = None,
    ) -> None:
        """Trains to the end, or until `after_step` says that nothing is left to train.

        Args:
            batch_at: step → this rank's rows, whose weights add up to 1 per prompt over all ranks.
            after_step: called with the number of steps done; returns True to stop.
            extra_state: what else a checkpoint must hold, as tensors and as plain data.
        """
        while self.step < self.settings.steps:
            batch = batch_at(self.step)
            answers = self.update(batch)
            self.step += 1
            done = after_step(self.step, answers, batch)
            every = self.settings.checkpoint_every
            if done or (every and self.step % every == 0 and self.step < self.settings.steps):
                self.world.save(lambda folder: self.save(folder, extra_state), self.step)
            if done:
                break

    def update(self, batch: Batch) -> Answers:
        """One step on one batch."""
        self.optimizer.zero_grad(set_to_none=False)
        answers: Answers = self.model(batch)
        self.model.backbone.backward((answers.loss * batch.weight).sum())
        gradients = self.gradients()
        sum_over_ranks(gradients, self.world.size)
        self.clip(gradients)
        for group in self.optimizer.param_groups:
            group["lr"] = REFERENCE_RATE * self.settings.rate(self.step)
        self.optimizer.step()
        return answers

    def gradients(self) -> list[Tensor]:
        """The gradients of all that is trained, zeros where a rank's rows did not touch it."""
        for p in self.model.trainable():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        return [p.grad for p in self.model.trainable() if p.grad is not None]

    def clip(self, gradients: list[Tensor]) -> None:
        """Clips every prompt together with its own heads, so that no prompt's gradient touches another's.

        The parameters hold `value / rate`, so their gradients are `rate` times the value's: the norm is taken of the
        value's.
        """
        bank, heads = self.model.bank, self.model.heads
        assert bank is not None
        prompt, weight, bias = gradients
        square = (prompt.flatten(1).square().sum(1)) / bank.rates.square()  # [N]
        of_heads = (weight.flatten(1).square().sum(1) + bias.square().sum(1)) / heads.rates.square()  # [heads]
        square = square.index_add(0, self.groups, of_heads)
        factor = (self.settings.clip / (square.sqrt() + 1e-6)).clamp(max=1.0)  # [N]
        prompt.mul_(factor.view(-1, 1, 1, 1, 1, 1))
        weight.mul_(factor[self.groups].view(-1, 1, 1))
        bias.mul_(factor[self.groups].view(-1, 1))

    def save(
        self, folder: Path, extra_state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]] | None = None
    ) -> None:
        """Writes prompts, heads, optimizer, data position and random states; never the backbone."""
        tensors: dict[str, Tensor] = {}
        for i, p in enumerate(self.model.trainable()):
            tensors[f"value.{i}"] = p.detach()
            for name, value in self.optimizer.state[p].items():
                tensors[f"optimizer.{i}.{name}"] = value
        tensors["random.torch"] = torch.get_rng_state()
        extra_tensors, extra = extra_state() if extra_state is not None else ({}, {})
        tensors |= {f"extra.{name}": value for name, value in extra_tensors.items()}
        save_file(
            {name: value.contiguous().cpu().clone() for name, value in tensors.items()}, folder / "state.safetensors"
        )
        numpy_state: Any = np.random.get_state(legacy=False)
        numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
        states = {"python": random.getstate(), "numpy": numpy_state}
        save_json(folder / "state.json", {"step": self.step, "random": states, "extra": extra})

    def load(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Continues from what `save` wrote; returns the extra state."""
        tensors = load_file(folder / "state.safetensors")
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        with torch.no_grad():
            for i, p in enumerate(self.model.trainable()):
                p.copy_(tensors[f"value.{i}"])
                prefix = f"optimizer.{i}."
                self.optimizer.state[p] = {
                    name.removeprefix(prefix): value.to(p.device) if value.dim() else value
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
        torch.set_rng_state(tensors["random.torch"])
        version, internal, gauss = state["random"]["python"]
        random.setstate((version, tuple(internal), gauss))
        numpy_state = state["random"]["numpy"]
        numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
        np.random.set_state(numpy_state)
        self.step = int(state["step"])
        extra = {name.removeprefix("extra."): value for name, value in tensors.items() if name.startswith("extra.")}
        return extra, state["extra"]
