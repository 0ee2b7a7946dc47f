"""What PEFT and transformers' classes call things: kinds of adapters, kinds of tasks, the modules of heads.

A prompt is stored flat: of a prefix [P, L · 2 · H · D], keys before values in each layer; of an input prompt [P, E].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pipeline.backbone.positions import ROBERTA_LIKE
from pipeline.errors import InputError, nearest

CONFIG, TENSORS, HEAD, BESIDE = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
    "deepprompt.json",
)
PROMPT = "prompt_embeddings"
KINDS: Mapping[str, Literal["prefix", "prompt_tuning", "p_tuning"]] = {
    "PREFIX_TUNING": "prefix",
    "PROMPT_TUNING": "prompt_tuning",
    "P_TUNING": "p_tuning",
}
"""PEFT's kinds of adapters that are prompts of one task → the method here."""
ENCODERS = ("bert", *sorted(ROBERTA_LIKE & {"roberta", "xlm-roberta", "camembert"}))
DECODERS = ("gpt2", "llama", "qwen3")
FAMILIES = (*ENCODERS, *DECODERS)
"""Answers were compared with PEFT's own for bert, roberta, gpt2 and llama, whose code the others share. It takes no
prefix for most further ones."""


@dataclass(frozen=True)
class HeadNames:
    """Where a class keeps its head.

    Args:
        linear: the module of its linear map. biased: whether that has a bias.
        bend: the module of the layer with tanh before it; None for none.
        save: what PEFT's `modules_to_save` has to name.
    """

    linear: str
    biased: bool = True
    bend: str | None = None
    save: tuple[str, ...] = ("classifier", "score")


def head_names(family: str, task_type: str) -> HeadNames:
    """The head of a family's class for one of PEFT's kinds of tasks: SEQ_CLS, TOKEN_CLS or QUESTION_ANS."""
    if task_type == "QUESTION_ANS":
        return HeadNames("qa_outputs", save=("qa_outputs",))
    if task_type == "TOKEN_CLS":
        return HeadNames("score" if family in ("llama", "qwen3") else "classifier")
    if family in DECODERS:
        return HeadNames("score", biased=False)
    if family == "bert":  # its pooler is the backbone's, unless the adapter brings one
        return HeadNames("classifier", bend="bert.pooler.dense", save=("pooler", "classifier", "score"))
    return HeadNames("classifier.out_proj", bend="classifier.dense")


def check_family(family: str, where: str) -> None:
    """Raises InputError for a family that no adapter travels for."""
    if family not in FAMILIES:
        what = f"adapters of the family {family!r} do not travel between PEFT and deepprompt"
        raise InputError(what, where=where, expected=", ".join(FAMILIES), nearest=nearest(family, FAMILIES))


def flat(prompt: Tensor) -> Tensor:
    """A prompt as PEFT stores it: [L, 2, H, P, D] → [P, L · 2 · H · D]; [P, E] as it is."""
    return prompt if prompt.dim() == 2 else prompt.permute(3, 0, 1, 2, 4).flatten(1)


def unflat(stored: Tensor, layers: int, heads: int, head_size: int) -> Tensor:
    """A prefix as PEFT stores it, [P, L · 2 · H · D] → [L, 2, H, P, D]."""
    return stored.view(-1, layers, 2, heads, head_size).permute(1, 2, 3, 0, 4).to(torch.float32).contiguous()
