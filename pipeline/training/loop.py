"""The training step: the only one. Pretraining and adaptation differ in the batches they give it.

Prompts and heads are plain fp32 tensors outside the (possibly sharded) backbone, so one optimizer, one clipping rule
and one checkpoint serve every sharding and every world size. Every prompt has parameter groups of its own, for it, for
its encoder's network and for its heads: its own learning rates, its own clock, and no gradient but its own, so that it
ends where it would alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.model import PromptedModel
from pipeline.prompts import paces
from pipeline.tasks import Answers, Batch
from pipeline.training.clipping import clip_each
from pipeline.training.world import World, save_json, sum_over_ranks

ExtraState = Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]
"""What else a checkpoint must hold, as tensors and as plain data."""


@dataclass(frozen=True)
class Schedule:
    """A learning rate's course over the steps of a training.

    Args:
        steps: in all. warmup: the fraction of them in which the rate rises linearly; it then falls linearly to zero.
    """

    steps: int
    warmup: float = 0.1

    def factor(self, step: int) -> float:
        """The factor on the learning rate at a step, in (0, 1]."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return (step + 1) / rising
        return max(0.0, (self.steps - step) / max(1, self.steps - rising))


Objective = Callable[[Answers, Batch], Tensor]
"""What a pass contributes to the loss of a step, a number."""


def gold_loss(answers: Answers, batch: Batch) -> Tensor:
    """The cross entropy of the gold answers, rows weighted as the batch says."""
    return (answers.loss * batch.weight).sum()


@dataclass(frozen=True)
class LoadedState:
    """Where a checkpoint stood: its step, and what `extra_state` had given it."""

    step: int
    tensors: Mapping[str, Tensor]
    plain: Mapping[str, Any]


@dataclass(frozen=True)
class _Group:
    """What learns at one rate under a prompt's name."""

    parameters: list[nn.Parameter]
    rate: float


class Trainer:
    """Steps the prompts and heads of a model, and can be saved and continued at any world size.

    Args:
        model: the backbone is frozen; the bank and the heads are trained.
        world: the worker's group.
        clip: each prompt with its heads is clipped to this gradient norm, by itself.
    """

    def __init__(self, model: PromptedModel, world: World, clip: float = 1.0) -> None:
        self.model = model
        self.world = world
        self.clip = clip
        self._groups: dict[int, list[_Group]] = {}
        self._optimizer: torch.optim.AdamW | None = None

    @property
    def live(self) -> list[int]:
        """The prompts that are being trained."""
        return list(self._groups)

    def enter(
        self,
        prompt: int,
        heads: Iterable[int],
        learning_rate: float,
        prompts: Iterable[int] | None = None,
        head_share: float = 1.0,
        also: Iterable[nn.Parameter] = (),
    ) -> None:
        """Starts to train a prompt of the bank with its heads.

        Args:
            prompts: several, where they share parameters; `prompt` then names them all.
            head_share: of the learning rate, what the heads take.
            also: what else trains with it.
        """
        bank, of_heads = self.model.bank, self.model.heads
        assert bank is not None
        shares = dict(own for n in (prompts or [prompt]) for own in paces(bank.encoders[n]))
        shares |= dict.fromkeys(also, 1.0)
        shares |= {part[h]: head_share for h in heads for part in (of_heads.weights, of_heads.biases)}
        self._groups[prompt] = [
            _Group([parameter for parameter in shares if shares[parameter] == share], learning_rate * share)
            for share in dict.fromkeys(shares.values())
        ]
        if self._optimizer is None:
            self._optimizer = torch.optim.AdamW(self._parameters(prompt), weight_decay=0.0, fused=True)

    def leave(self, prompt: int) -> None:
        """Stops training a prompt, and gives up what its training needed."""
        assert self._optimizer is not None
        for parameter in self._parameters(prompt):
            self._optimizer.state.pop(parameter, None)
            parameter.grad = None
        del self._groups[prompt]

    def update(
        self, passes: Iterable[Batch], factors: Mapping[int, float], objective: Objective = gold_loss, **cut: Any
    ) -> list[Tensor]:
        """One step.

        Args:
            passes: the rows of the step; together a prompt's weights add up to 1 over all ranks.
            factors: prompt → the factor on its learning rate; the prompts that take this step.
            objective: what is made small.
            cut: see `PromptedModel.forward`.

        Returns:
            Each pass's losses per row, [B].
        """
        assert self._optimizer is not None
        assert self.model.bank is not None
        for n in self._groups:
            for parameter in self._parameters(n):
                parameter.grad = None
        losses = []
        with self.model.bank.once():
            for batch in passes:
                answers: Answers = self.model(batch, **cut)
                self.model.backbone.backward(objective(answers, batch))
                losses.append(answers.loss.detach())
                del answers  # or its graph would live beside the next pass's
        if self.world.size > 1:
            sum_over_ranks(self.gradients(), self.world.size)
        clip_each([self._parameters(n) for n in factors], self.clip)  # with its own heads: none touches another
        self._step(factors)
        return losses

    def _step(self, factors: Mapping[int, float]) -> None:
        """Lets the prompts that have a factor take an optimizer step; not even its momentum moves another one.

        Those that learn at the same rate now step together, whoever they are: the optimizer's state is a parameter's
        own, and there are fewer rates than prompts (see `clip_each`).
        """
        assert self._optimizer is not None
        together: dict[float, list[nn.Parameter]] = {}
        for n, factor in factors.items():
            for group in self._groups[n]:
                together.setdefault(group.rate * factor, []).extend(group.parameters)
        self._optimizer.param_groups[:] = [
            {**self._optimizer.defaults, "params": parameters, "lr": rate} for rate, parameters in together.items()
        ]
        self._optimizer.step()

    def gradients(self) -> list[Tensor]:
        """The gradients of all that is being trained, zeros where this rank's rows did not touch it."""
        gradients = []
        for n in self._groups:
            for parameter in self._parameters(n):
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        return gradients

    def _parameters(self, prompt: int) -> list[nn.Parameter]:
        """What trains under a prompt's name: first what makes it, then its heads."""
        return [parameter for group in self._groups[prompt] for parameter in group.parameters]

    def save(self, folder: Path, step: int, extra_state: ExtraState | None = None) -> None:
        """Writes prompts, heads, optimizer, data position and random states; never the backbone."""
        assert self._optimizer is not None
        tensors: dict[str, Tensor] = {}
        for n in self._groups:
            for i, parameter in enumerate(self._parameters(n)):
                tensors[f"value.{n}.{i}"] = parameter.detach()
                for name, value in self._optimizer.state[parameter].items():
                    tensors[f"optimizer.{n}.{i}.{name}"] = value
        tensors["random.torch"] = torch.get_rng_state()
        extra_tensors, extra = extra_state() if extra_state is not None else ({}, {})
        tensors |= {f"extra.{name}": value for name, value in extra_tensors.items()}
        save_file(
            {name: value.contiguous().cpu().clone() for name, value in tensors.items()}, folder / "state.safetensors"
        )
        numpy_state: Any = np.random.get_state(legacy=False)
        numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
        states = {"python": random.getstate(), "numpy": numpy_state}
        save_json(folder / "state.json", {"step": step, "random": states, "extra": extra})

    def load(self, folder: Path, enter: Callable[[dict[str, Any]], None] = lambda extra: None) -> LoadedState:
        """Continues from what `save` wrote.

        Args:
            enter: is given the extra plain state, and lets the prompts enter that were being trained.
        """
        tensors = load_file(folder / "state.safetensors")
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        enter(state["extra"])
        with torch.no_grad():
            for n in self._groups:
                for i, parameter in enumerate(self._parameters(n)):
                    parameter.copy_(tensors[f"value.{n}.{i}"])
                    prefix = f"optimizer.{n}.{i}."
                    known = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                    if known:
                        assert self._optimizer is not None
                        self._optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in known.items()}
        torch.set_rng_state(tensors["random.torch"])
        version, internal, gauss = state["random"]["python"]
        random.setstate((version, tuple(internal), gauss))
        numpy_state = state["random"]["numpy"]
        numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
        np.random.set_state(numpy_state)
        extra = {name.removeprefix("extra."): value for name, value in tensors.items() if name.startswith("extra.")}
        return LoadedState(int(state["step"]), extra, state["extra"])
