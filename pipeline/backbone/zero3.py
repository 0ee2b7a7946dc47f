"""A backbone whose frozen weights DeepSpeed's ZeRO-3 shares out over the process group.

DeepSpeed wraps the frozen backbone alone. Prompts, heads and their optimizer stay outside, as plain fp32 tensors:

- a bfloat16 backbone keeps fp32 prompts (inside, DeepSpeed casts every parameter to the backbone's dtype);
- one optimizer, one clipping rule and one learning-rate schedule serve every sharding;
- ranks may answer different tasks in the same step: DeepSpeed asks all ranks to agree on the modules they run, and
those
  inside are the same for every task;
- a checkpoint of prompts is an ordinary file, written without gathering and restored at any number of workers.

Only DeepSpeed 0.19 refuses to run backward without a trainable parameter. So one number, the *tether*, hangs on the
hidden states: it changes nothing, its gradient is zero, and its optimizer has a learning rate of zero.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbone.frozen import Backbone
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.load import load_tokenizer
from pipeline.backbone.sharding import cannot_share, search_path
from pipeline.backbone.weights import read_weights

_M_MMAP_THRESHOLD = -3
MMAP_THRESHOLD = 1 << 20
"""Bytes from which glibc gives a buffer its own mapping. Left alone, glibc raises this as buffers are freed, and
gathered layers then stay in the heap as holes instead of returning to the system."""


class Zero3Backbone(Backbone):
    """A `Backbone` of which each rank holds a part. Every method that runs it is collective: all ranks call it alike.

    Args:
        model: a transformers model whose weights are already shared out. tokenizer, info: as for `Backbone`.
        config: DeepSpeed's.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        info: BackboneInfo,
        config: dict[str, Any],
        checkpointing: bool = False,
    ) -> None:
        import deepspeed

        super().__init__(model, tokenizer, info, checkpointing)
        _save_weights_by_name(model)
        _gather_by_layer(self.layers[0])
        tethered = _Tethered(model)
        optimizer = torch.optim.SGD([tethered.tether], lr=0.0)
        # From here on `self.model` is DeepSpeed's engine: it gathers each layer before its use and releases it after.
        self.model, *_ = deepspeed.initialize(model=tethered, optimizer=optimizer, config=config)

    @property
    def _engine(self) -> Any:
        return self.model

    def _run(self, *args: Any, **kwargs: Any) -> Tensor:
        """As `Backbone._run`; all ranks must call it equally often and for the same layers, with any rows."""
        hidden = super()._run(*args, **kwargs)
        if not hidden.requires_grad:
            self.release()  # DeepSpeed keeps what it expects a backward pass to need first
        return hidden

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`, each layer gathered again on the way; afterwards every rank holds its part only."""
        self._engine.backward(loss)
        self._engine.step()  # the tether's: moves nothing, but ends DeepSpeed's step

    def release(self) -> None:
        """Gives up every gathered weight."""
        self._engine.optimizer.empty_partition_cache()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """As `Backbone.weights`; gathers one weight at a time."""
        self.release()
        for name, tensor in sorted(self._engine.module.model.state_dict(keep_vars=True).items()):
            with torch.no_grad(), _gathered(tensor):
                yield name, tensor


class _Tethered(nn.Module):
    """The backbone with the one trainable number that DeepSpeed asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.tether = nn.Parameter(torch.zeros(1, dtype=next(model.parameters()).dtype))

    def forward(self, **kwargs: Any) -> Any:
        out = self.model(**kwargs)
        if torch.is_grad_enabled():
            out.last_hidden_state = _Tie.apply(out.last_hidden_state, self.tether)  # type: ignore[no-untyped-call]
        return out


class _Tie(torch.autograd.Function):
    """Passes the hidden states on unchanged, and gives the tether a gradient of zero."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, tether: Tensor) -> Tensor:
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], gradients[0].new_zeros(1)


class _FrozenLinear(nn.Linear):
    """A linear layer that keeps its weight by name for the backward pass, and its input not at all.

    Torch's own keeps a view of the gathered weight, so that no layer could be released before its backward pass;
    DeepSpeed's replacement also keeps the input, and replaces the function for the whole process.
    """

    def forward(self, input: Tensor) -> Tensor:
        return _FrozenProduct.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]


class _FrozenProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors  # gathered again by now
        return gradients[0] @ weight, None, None


def _save_weights_by_name(model: nn.Module) -> None:
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = _FrozenLinear


def _gather_by_layer(layers: nn.ModuleList) -> None:
    """Has DeepSpeed gather and release whole layers: one hook each, where it would hook every norm and activation."""
    from deepspeed.utils import set_z3_leaf_module

    for layer in layers:
        set_z3_leaf_module(layer, True)


def load_sharded(info: BackboneInfo, dtype: str, checkpointing: bool = False) -> Zero3Backbone:
    """This rank's part of a backbone. The process group must exist; all ranks call this together.

    Rank 0 alone reads the files (mapped, so their pages are the system's to drop), one weight at a time reaches the
    others, and each keeps its part: no rank ever holds a whole copy of its own.

    Args:
        info: what `describe` said. dtype: "float32" or "bfloat16". checkpointing: see `Backbone`.

    Raises:
        InputError: the family cannot be shared out.
    """
    if info.whole is not None:
        raise cannot_share(info.whole)
    _prepare_environment()
    with _quiet():
        import deepspeed
        from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        deepspeed.init_distributed(
            dist_backend=torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False
        )
        config = deepspeed_config(info, dtype)
        alive = HfDeepSpeedConfig(config)  # while it lives, transformers shares weights out as it makes them
        try:
            model = read_weights(info, dtype)
        finally:
            unset_hf_deepspeed_config()
            del alive
        return Zero3Backbone(model, load_tokenizer(info), info, config, checkpointing)


def deepspeed_config(info: BackboneInfo, dtype: str) -> dict[str, Any]:
    """DeepSpeed's configuration for a frozen backbone, sized so that about two layers are gathered at a time."""
    layer = max(1, (info.parameters - info.vocabulary * info.embedding) // info.layers)
    return {
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed only reports it: batches are ours
        "gradient_accumulation_steps": 1,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 40,
        "bf16": {"enabled": dtype == "bfloat16"},
        "zero_optimization": {
            "stage": 3,
            "stage3_param_persistence_threshold": 10 * info.width,  # biases and norms stay: small, and many
            "stage3_prefetch_bucket_size": layer,
            "stage3_max_live_parameters": 2 * layer,
            "stage3_max_reuse_distance": 0,  # release after each use
            "stage3_allgather_sequential": not torch.cuda.is_available(),  # gathers in place, without a second buffer
            "memory_efficient_linear": False,  # `_FrozenLinear` does it, for the backbone only
            "reduce_bucket_size": 1024,  # only the tether is ever reduced
        },
    }


def _prepare_environment() -> None:
    """What DeepSpeed needs of the process before it is first imported and started."""
    # torch tells DeepSpeed, at every gather, that it calls collectives by their old names.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    os.environ["PATH"] = search_path()
    os.environ.setdefault("LOCAL_RANK", str(torch.cuda.current_device()) if torch.cuda.is_available() else "0")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)


@contextlib.contextmanager
def _gathered(tensor: Tensor) -> Iterator[None]:
    import deepspeed

    with deepspeed.zero.GatheredParameters([tensor]) if hasattr(tensor, "ds_id") else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what DeepSpeed and transformers print while they start off the console; errors are raised all the same."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield
