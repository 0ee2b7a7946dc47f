"""Writing the texts of a whole split under several prompts at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pipeline.model import PromptedModel
from pipeline.model.writing import write
from pipeline.tasks import PreparedTask, collate, length_batches
from pipeline.tasks.types.generation import question
from pipeline.training.evaluation.evaluate import Member

TOKENS_WRITTEN = 16_384
"""Tokens of the widest batch, those that are read and all that may be written, for every beam: what the cache holds."""
ROWS_WRITTEN = 256


@torch.no_grad()
def write_split(
    model: PromptedModel,
    task: PreparedTask,
    split: str,
    members: Sequence[Member],
    *,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[list[str]]:
    """A text for each row under each member, [K][R].

    Args:
        on_batch: hears (batches done, batches in all).
    """
    encoded, how = task.encoded[split], task.writing
    first = [row[0] for row in encoded.take(range(len(encoded)))]  # of a row's references none is looked at
    rows = [question(sequence) for sequence in first]
    sizes = [len(row["input_ids"]) + how.max_new_tokens for row in rows]
    room = TOKENS_WRITTEN // (how.beams * len(members))
    batches = length_batches(sizes, max(1, ROWS_WRITTEN // len(members)), tokens=room)
    texts = [[""] * len(rows) for _ in members]
    for done, indices in enumerate(batches, start=1):
        held = [(k, i) for k in range(len(members)) for i in indices.tolist()]
        batch = collate(
            [rows[i] for i in indices.tolist()],
            example=list(range(len(indices))) * len(members),
            prompt=[members[k][0] for k, _ in held],
            head=[members[k][1] for k, _ in held],
            pad_token_id=task.pad_token_id,
        )
        for (k, i), text in zip(held, write(model, batch.to(model.backbone.device), how), strict=True):
            texts[k][i] = text
        if on_batch is not None:
            on_batch(done, len(batches))
    return texts
