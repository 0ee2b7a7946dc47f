"""The backbone's own language-model head: hidden states → a score for every token of the vocabulary.

A head is whatever a family puts between its last layer and the scores: BERT's transform and bias, ModernBERT's norm, a
scale, a soft cap, BART's bias of the logits. None of it is written again here: the family's own language model runs,
with the hidden states it is given in place of its backbone (`_Given`). It is frozen, loaded only where an answer needs
it, and computed only at the positions that are read: all of them would cost V · T numbers a row (OpenPrompt computes
256 GFLOP a step where 2 are needed).

What a head shares with the embeddings stays shared; its own weights, if it has any, are kept and memory-mapped like the
backbone's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.backbone.attention import SEAM, register_seam
from pipeline.backbone.source import WEIGHT_PATTERNS, BackboneInfo, is_causal, read_config
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.backbone.load import Backbone


class Vocabulary(nn.Module):
    """A language model without its backbone.

    Args:
        shell: the family's language model, `_Given` in the place of its backbone. inside: the names of those places.
        own: the tensors that are the head's alone; the others are the backbone's.
    """

    def __init__(self, shell: nn.Module, inside: tuple[str, ...], own: tuple[str, ...]) -> None:
        super().__init__()
        self.shell = shell.requires_grad_(False).eval()
        self.inside = inside
        self.own = own
        self._given: _Given = getattr(shell, inside[0])

    def train(self, mode: bool = True) -> Vocabulary:
        """Frozen, as the backbone is."""
        return super().train(False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores of all tokens: hidden [A, M] → [A, V], in the backbone's dtype."""
        self._given.hidden = hidden[None]  # [1, A, M]
        try:
            scores: Tensor = self.shell().logits[0]
        finally:
            self._given.hidden = None
        return scores

    @contextmanager
    def around(self, model: nn.Module) -> Iterator[Any]:
        """While the context lasts, the whole language model around a backbone's `model`: what `generate` needs."""
        stand_ins = {name: getattr(self.shell, name) for name in self.inside}
        try:
            for name in self.inside:
                setattr(self.shell, name, getattr(model, name) if len(self.inside) > 1 else model)
            yield self.shell
        finally:
            for name, stand_in in stand_ins.items():
                setattr(self.shell, name, stand_in)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The head's own weights by name, in a fixed order."""
        state = self.shell.state_dict()
        yield from ((f"vocabulary.{name}", state[name]) for name in sorted({*self.own} & {*state}))


class _Given(nn.Module):
    """Stands where a language model calls its backbone, and answers with the hidden states that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    @property
    def decoder(self) -> _Given:
        """Some models (OPT) call a part of their backbone."""
        return self

    def forward(self, *args: Any, **kwargs: Any) -> _Seen:
        assert self.hidden is not None
        return _Seen(self.hidden)


class _Seen:
    """A backbone's output with nothing in it but the last hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, place: int) -> Tensor:
        return self.last_hidden_state

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def check_vocabulary(info: BackboneInfo, *, where: str = "backbone.model") -> None:
    """Raises InputError unless the checkpoint has a language-model head; reads names only, no weights."""
    _find_own(info, _Empty(info, "float32", where), where)


def open_vocabulary(backbone: Backbone) -> Vocabulary:
    """The head of a loaded backbone, with the backbone's embeddings where they are tied; see
    `Backbone.open_vocabulary`.

    Raises:
        InputError: the checkpoint has none; the folder for mapped weights cannot be written.
    """
    from pipeline.backbone.load import DTYPES, dtype_name
    from pipeline.backbone.mapped import keep

    info, dtype = backbone.info, dtype_name(backbone.dtype)
    empty = _Empty(info, dtype, "backbone.model")
    found = _find_own(info, empty, "backbone.model")
    theirs = dict(backbone.model.named_parameters(remove_duplicate=False))
    shared = {name: theirs[of] for name, of in empty.tied.items() if of in theirs}
    if len(shared) < len(empty.tied):  # they are shared out over ranks: each rank has a whole copy of the head
        shared, found = {}, _find_own(info, empty, "backbone.model", tied=True)

    def read() -> dict[str, Tensor]:
        return {name: _read(name, place, empty, DTYPES[dtype]) for name, place in found.items()}

    own: Mapping[str, Tensor]
    if backbone.mapped is None or not found:
        own = {name: tensor.to(backbone.device) for name, tensor in read().items()}
    else:
        facts = f"vocabulary:{info.weights}:{info.family}:{dtype}"
        own = keep(backbone.mapped, facts, {name: empty.tensors[name] for name in found}, read, info.name)
    for name, tensor in {**own, **shared}.items():
        for alias in empty.aliases[name]:
            owner, _, last = alias.rpartition(".")
            module = empty.shell.get_submodule(owner)
            if last in module._parameters:
                module._parameters[last] = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)
            else:
                module._buffers[last] = tensor
    return Vocabulary(empty.shell, empty.inside, tuple(own))


class _Empty:
    """A family's language model without memory for its weights, its backbone taken out.

    Attributes:
        shell, inside: see `Vocabulary`. tensors: the head's parameters and buffers, each under one name. aliases: that
        name → all its names. tied: those of them that are the backbone's → their names in the backbone.
        optional: whether a tensor's absence from a checkpoint means zeros.
    """

    def __init__(self, info: BackboneInfo, dtype: str, where: str) -> None:
        from pipeline.backbone.load import DTYPES

        register_seam()
        config = read_config(info.folder, where)
        kind = _language_model(config, info, where)
        with torch.device("meta"):
            model = kind.from_config(config, dtype=DTYPES[dtype], attn_implementation=SEAM, trust_remote_code=False)
            model.tie_weights()
        self.shell: Any = model
        inside = model.base_model_prefix
        # T5's language model has its backbone's parts beside its head, the others have the backbone as one part.
        self.inside = (inside,) if hasattr(model, inside) else ("decoder", "encoder", "shared")
        bases = {id(p): name for name, p in self._named() if self._is_inside(name)}
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
        for name in self.inside:
            setattr(model, name, _Given())
        for name in self.inside[1:]:
            setattr(model, name, getattr(model, self.inside[0]))

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


_HINT = "hard prompts and verbalizers need one: a checkpoint saved as a language model; head: linear does without"


def _find_own(info: BackboneInfo, empty: _Empty, where: str, tied: bool = False) -> dict[str, tuple[Path | None, str]]:
    """Where each tensor of a head is that the backbone does not hold: (file, its name there); no file for zeros.

    Args:
        tied: look for those, too, that the backbone holds.

    Raises:
        InputError: the checkpoint lacks one.
    """
    there = {_modern(name): (file, name) for file, name in _names(info.folder)}
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


def _modern(name: str) -> str:
    """A tensor's name as transformers has it today; the first BERT checkpoints have TensorFlow's names, and those of
    GPT-NeoX the one that it still writes for its head."""
    return name.replace("embed_out.", "lm_head.").replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _read(name: str, place: tuple[Path | None, str], empty: _Empty, dtype: torch.dtype) -> Tensor:
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
