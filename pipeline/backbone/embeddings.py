"""Where input prompts enter: vectors that stand among the input embeddings in place of tokens' own.

The model's own forward runs on token ids; a hook on its embedding exchanges the vectors at the chosen places, all in
one operation. `inputs_embeds` would do the same less surely: some models (RoBERTa) count positions from the ids, and a
sharded embedding may only be looked up inside the model's forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def inserting(embedding: nn.Module, inserted: tuple[Tensor, Tensor] | None) -> Iterator[None]:
    """While the context lasts the embedding gives the inserted vectors at their places.

    Args:
        inserted: (place [S], vectors [S, E]), see `Backbone.forward`; None for nothing.
    """
    if inserted is None:
        yield
        return
    place, vectors = inserted

    def exchange(module: nn.Module, args: Any, embedded: Tensor) -> Tensor:
        flat = embedded.reshape(-1, embedded.shape[-1])  # [B · T, E]
        return flat.index_copy(0, place, vectors.to(flat.dtype)).view_as(embedded)

    hook = embedding.register_forward_hook(exchange)
    try:
        yield
    finally:
        hook.remove()
