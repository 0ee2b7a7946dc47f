"""The backbone's own language-model head: hidden states → a score for every token of the vocabulary.

A head is whatever a family puts between its last layer and the scores: BERT's transform and bias, ModernBERT's norm, a
scale, a soft cap, BART's bias of the logits. None of it is written again here: the family's own language model runs,
with the hidden states it is given in place of its backbone (`Given`). It is frozen, loaded only where an answer needs
it, and computed only at the positions that are read: all of them would cost V · T numbers a row (OpenPrompt computes
256 GFLOP a step where 2 are needed).

What a head shares with the embeddings stays shared; its own weights, if it has any, are kept and memory-mapped like the
backbone's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from pipeline.backbone.dtypes import DTYPES, dtype_name
from pipeline.backbone.info import BackboneInfo
from pipeline.backbone.language_model import EmptyModel, Given, find_own, read_tensor
from pipeline.backbone.mapped import keep


class Vocabulary(nn.Module):
    """A language model without its backbone.

    Args:
        shell: the family's language model, with `given` in the place of its backbone.
        own: the tensors that are the head's alone; the others are the backbone's.
    """

    def __init__(self, shell: nn.Module, given: Given, own: tuple[str, ...]) -> None:
        super().__init__()
        self.shell = shell.requires_grad_(False).eval()
        self.own = own
        self._given = (given,)  # in a tuple, so that it is not registered a second time

    def train(self, mode: bool = True) -> Vocabulary:
        """Frozen, as the backbone is."""
        return super().train(False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores of all tokens: hidden [A, M] → [A, V], in the backbone's dtype."""
        self._given[0].hidden = hidden[None]  # [1, A, M]
        try:
            scores: Tensor = self.shell().logits[0]
        finally:
            self._given[0].hidden = None
        return scores

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The head's own weights by name, in a fixed order."""
        state = self.shell.state_dict()
        yield from ((f"vocabulary.{name}", state[name]) for name in sorted({*self.own} & {*state}))


def check_vocabulary(info: BackboneInfo, *, where: str = "backbone.model") -> None:
    """Raises InputError unless the checkpoint has a language-model head; reads names only, no weights."""
    find_own(info, EmptyModel(info, "float32", where), where)


def open_vocabulary(model: nn.Module, info: BackboneInfo, mapped: Path | None) -> Vocabulary:
    """The head of a loaded backbone, with the backbone's embeddings where they are tied; see
    `Backbone.open_vocabulary`.

    Raises:
        InputError: the checkpoint has none; the folder for mapped weights cannot be written.
    """

    weight = next(p for p in model.parameters() if p.is_floating_point())
    dtype = dtype_name(weight.dtype)
    empty = EmptyModel(info, dtype, "backbone.model")
    found = find_own(info, empty, "backbone.model")
    theirs = dict(model.named_parameters(remove_duplicate=False))
    shared = {name: theirs[of] for name, of in empty.tied.items() if of in theirs}
    if len(shared) < len(empty.tied):  # they are shared out over ranks: each rank has a whole copy of the head
        shared, found = {}, find_own(info, empty, "backbone.model", tied=True)

    def read() -> dict[str, Tensor]:
        return {name: read_tensor(name, place, empty, DTYPES[dtype]) for name, place in found.items()}

    own: Mapping[str, Tensor]
    if mapped is None or not found:
        own = {name: tensor.to(weight.device) for name, tensor in read().items()}
    else:
        facts = f"vocabulary:{info.weights}:{info.family}:{dtype}"
        own = keep(mapped, facts, {name: empty.tensors[name] for name in found}, read, info.name)
    for name, tensor in {**own, **shared}.items():
        for alias in empty.aliases[name]:
            owner, _, last = alias.rpartition(".")
            module = empty.shell.get_submodule(owner)
            if last in module._parameters:
                module._parameters[last] = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)
            else:
                module._buffers[last] = tensor
    return Vocabulary(empty.shell, empty.given, tuple(own))
