"""What the backbone's language model says of a batch: the scores of rows without a linear head, of label words or of
all tokens.

Words are read in the row itself, at its masks or behind it, or of an encoder-decoder in what its decoder would write.
Either way the language-model head runs where a row is read and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from pipeline.backbone import Backbone, PromptStates
from pipeline.tasks import Batch, HeadBank, Verbalizer


def read_words(backbone: Backbone, heads: HeadBank, batch: Batch, hidden: Tensor) -> dict[int, Tensor]:
    """Verbalizer's head → a score [U, C] for each label, of the rows that it answers.

    Args:
        hidden: [B, T, M].
    """
    if batch.read is None:
        return {}
    read = batch.read[batch.example] & heads.answered_by_words(batch.head)[:, None]  # [B, T]
    row, column = read.nonzero(as_tuple=True)  # [A], [A] unit after unit
    if not len(row):
        return {}
    tokens = backbone.scores(hidden[row, column])  # [A, V]
    said = {}
    for n, verbalizer in _in_use(heads, batch.head[row]):
        own = tokens[batch.head[row] == n]
        said[n] = verbalizer.scores(own.view(-1, verbalizer.places, own.shape[1]))
    return said


def decode_words(
    backbone: Backbone,
    heads: HeadBank,
    batch: Batch,
    memory: Tensor,
    mask: Tensor,
    states: Callable[[Tensor], PromptStates | None],
) -> dict[int, Tensor]:
    """As `read_words`, where a decoder of its own says the words.

    Args:
        memory: [B, W, M], the rows as the encoder has read them, their soft tokens among them. mask: [B, W].
        states: the prompts of some rows → as the decoder's attentions take them.
    """
    said = {}
    device, config = mask.device, cast(Any, backbone.model.config)
    start = config.decoder_start_token_id
    for n, verbalizer in _in_use(heads, batch.head):
        width, count = verbalizer.longest + 1, len(verbalizer.added)
        fill = [width - 1 - len(one) for one in verbalizer.added]
        written = [[start, *one] + [start] * more for one, more in zip(verbalizer.added, fill, strict=True)]
        seen = [[True] * (width - more) + [False] * more for more in fill]
        rows = (batch.head == n).nonzero()[:, 0]  # [U]
        each = rows.repeat_interleave(count)  # [U · S]
        hidden = backbone.decode(
            torch.tensor(written, device=device).repeat(len(rows), 1),
            torch.tensor(seen, device=device).repeat(len(rows), 1),
            memory[each],
            mask[each],
            prompts=states(batch.prompt[each]),
        )  # [U · S, width, M]
        sequence, token = torch.tensor(verbalizer.at, device=device).unbind(1)  # [Q], [Q]
        read = hidden.view(len(rows), count, width, -1)[:, sequence, token]  # [U, Q, M]
        tokens = backbone.scores(read.flatten(0, 1))  # [U · Q, V]
        said[n] = verbalizer.scores(tokens.view(len(rows), verbalizer.places, -1))
    return said


def _in_use(heads: HeadBank, head: Tensor) -> list[tuple[int, Verbalizer]]:
    """The verbalizers among the heads of some rows."""
    used = [(n, heads.heads[n].verbalizer) for n in torch.unique(head).tolist()]
    return [(n, verbalizer) for n, verbalizer in used if verbalizer is not None]


def read_tokens(backbone: Backbone, heads: HeadBank, vectors: Tensor, head: Tensor) -> dict[int, Tensor]:
    """Head of a task that is written → a score for every token, [A_n, V], of its answers.

    Args:
        vectors: [A, M], what all answers read. head: [A], of each.
    """
    written = heads.written[head]  # [A]
    if not bool(written.any()):
        return {}
    scores, whose = backbone.scores(vectors[written]).float(), head[written]
    used = torch.unique(whose).tolist()
    return {n: scores if len(used) == 1 else scores[whose == n] for n in used}


def decode_texts(
    backbone: Backbone,
    heads: HeadBank,
    batch: Batch,
    hidden: Tensor,
    memory: Tensor,
    mask: Tensor,
    states: Callable[[Tensor], PromptStates | None],
) -> Tensor:
    """Hidden states [B, T, M] with those of an encoder-decoder's decoder where rows of written tasks answer: at the
    last token that was read for the start token, behind it for each token that is written.

    Args:
        memory, mask, states: as for `decode_words`.
    """
    rows = heads.written[batch.head].nonzero()[:, 0]  # [S]
    if not len(rows):
        return hidden
    ids, answer = batch.input_ids[batch.example[rows]], batch.answer[batch.example[rows]]  # [S, T]
    first, count = answer.int().argmax(1), answer.sum(1)  # [S]
    step = torch.arange(int(count.max()), device=ids.device)  # [U]
    column = (first[:, None] + step).clamp(max=ids.shape[1] - 1)  # [S, U]
    tokens, there = ids.gather(1, column), step < count[:, None]
    config: Any = backbone.model.config
    tokens[:, 0] = config.decoder_start_token_id
    written = backbone.decode(tokens, there, memory[rows], mask[rows], prompts=states(batch.prompt[rows]))  # [S, U, M]
    row, place = there.nonzero(as_tuple=True)
    return hidden.index_put((rows[row], column[row, place]), written[row, place])
