"""A family's language model without its backbone and without memory for its weights, and where a checkpoint has them.

What is the head's and what the backbone's, what is tied to what and how tensors are called is transformers' to say; it
is asked on torch's meta device, and of a checkpoint only the names are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backbone.attention import SEAM, register_seam
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.source import WEIGHT_PATTERNS, is_causal, read_config
from pipeline.errors import InputError


class Given(nn.Module):
    """Stands where a language model calls its backbone, and answers with the hidden states that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    @property
    def decoder(self) -> Given:
        """Some models (OPT) call a part of their backbone."""
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Seen:
        assert self.hidden is not None
        return Seen(self.hidden)


class Seen:
    """A backbone's output with nothing in it but the last hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, place: int) -> Tensor:
        return self.last_hidden_state

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class EmptyModel:
    """A family's language model without memory for its weights, its backbone taken out.

    Attributes:
        shell, given: see `Vocabulary`. inside: the names of the places where `given` stands.
        tensors: the head's parameters and buffers, each under one name. aliases: that name → all its names.
        tied: those of them that are the backbone's → their names in the backbone.
        optional: those whose absence from a checkpoint means zeros.
    """

    def __init__(self, info: BackboneInfo, dtype: str, where: str) -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming

        from pipeline.backbone.dtypes import DTYPES

        register_seam()
        config = read_config(info.folder, where)
        kind = _language_model(config, info, where)
        with torch.device("meta"):
            model = kind.from_config(config, dtype=DTYPES[dtype], attn_implementation=SEAM, trust_remote_code=False)
            model.tie_weights()
        self._renamings = [one for one in get_model_conversion_mapping(model) if isinstance(one, WeightRenaming)]
        self.shell: Any = model
        inside = model.base_model_prefix
        # T5's language model has its backbone's parts beside its head, the others have the backbone as one part.
        self.inside = (inside,) if hasattr(model, inside) else ("decoder", "encoder", "shared")
        bases: dict[int, str] = {}
        for name, tensor in self._named():
            if self._is_inside(name):
                bases.setdefault(id(tensor), name)
        heads: dict[int, list[str]] = {}
        tensors: dict[str, Tensor] = {}
        for name, tensor in self._named():
            if not self._is_inside(name):
                heads.setdefault(id(tensor), []).append(name)
                if len(heads[id(tensor)]) == 1:
                    tensors[name] = tensor
        self.tensors = tensors
        self.aliases = {names[0]: names for names in heads.values()}
        whole = len(self.inside) > 1
        self.tied = {
            names[0]: bases[place] if whole else bases[place].partition(".")[2]
            for place, names in heads.items()
            if place in bases
        }
        self.optional = {name for name in tensors if name in dict(model.named_buffers())}
        self.given = Given()
        for name in self.inside:
            setattr(model, name, self.given)

    def modern(self, name: str) -> str:
        """A tensor's name in a checkpoint as the model calls it today: transformers has renamed some."""
        from transformers.core_model_loading import apply_renamings

        return str(apply_renamings(name, self._renamings))

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.shell.named_parameters(remove_duplicate=False)
        yield from self.shell.named_buffers(remove_duplicate=False)

    def _is_inside(self, name: str) -> bool:
        return name.partition(".")[0] in self.inside


def _language_model(config: Any, info: BackboneInfo, where: str) -> Any:
    """transformers' class of language models for a family: masked, causal, or with an encoder and a decoder."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    if config.is_encoder_decoder:
        kind = AutoModelForSeq2SeqLM
    else:
        kind = AutoModelForCausalLM if is_causal(config) else AutoModelForMaskedLM
    if type(config) not in kind._model_mapping:
        what = f"the family {info.family!r} has no language-model head"
        raise InputError(what, where=where, found=info.name, hint=_HINT)
    return kind


_HINT = "hard prompts, verbalizers and generation need a checkpoint saved as a language model; head: linear does not"


def find_own(
    info: BackboneInfo, empty: EmptyModel, where: str, tied: bool = False
) -> dict[str, tuple[Path | None, str]]:
    """Where each tensor of a head is that the backbone does not hold: (file, its name there); no file for zeros.

    Args:
        tied: look for those, too, that the backbone holds.

    Raises:
        InputError: the checkpoint lacks one.
    """
    there = {empty.modern(name): (file, name) for file, name in _names(info.folder)}
    found: dict[str, tuple[Path | None, str]] = {}
    lacking = []
    for name in empty.tensors:
        if name in empty.tied and not tied:
            continue
        names = list(empty.aliases[name])
        if name in empty.tied:
            inside = empty.tied[name]
            names += [inside, *(f"{prefix}.{inside}" for prefix in empty.inside)]
        place = next((there[one] for one in names if one in there), None)
        if place is not None:
            found[name] = place
        elif name in empty.optional:
            found[name] = (None, name)
        else:
            lacking.append(name)
    if lacking:
        what = f"the checkpoint of {info.name!r} has no language-model head"
        missing = "no " + ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise InputError(what, where=where, found=missing, hint=_HINT)
    return found


def _names(folder: Path) -> Iterator[tuple[Path, str]]:
    """The tensors of a checkpoint: (file, name)."""
    from safetensors import safe_open

    for pattern in WEIGHT_PATTERNS:
        files = sorted(folder.glob(pattern))
        for file in files:
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    yield from ((file, name) for name in opened.keys())  # noqa: SIM118
            else:
                yield from ((file, name) for name in _pickled(file))
        if files:  # as transformers does: where there are safetensors, nothing else is read
            return


def _pickled(file: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return loaded


def read_tensor(name: str, place: tuple[Path | None, str], empty: EmptyModel, dtype: torch.dtype) -> Tensor:
    """A tensor of the head in the backbone's dtype."""
    from safetensors import safe_open

    file, there = place
    like = empty.tensors[name]
    if file is None:
        return torch.zeros(like.shape, dtype=dtype)
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            tensor = opened.get_tensor(there)
    else:
        tensor = _pickled(file)[there]
    if tensor.shape != like.shape:
        what, found = f"the language-model head's {there} has another shape", str(tuple(tensor.shape))
        raise InputError(what, where=str(file), found=found, expected=str(tuple(like.shape)))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
