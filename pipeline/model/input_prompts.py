"""Rows with input prompts: made wide for the backbone, and read where the task put its answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.backbone import Backbone, PromptStates
from pipeline.errors import InputError
from pipeline.prompts import PromptBank, arrange
from pipeline.tasks import HeadBank


def read_with_input_prompts(
    backbone: Backbone,
    heads: HeadBank,
    bank: PromptBank,
    chosen: Sequence[int],
    places: Sequence[int],
    ids: Tensor,
    mask: Tensor,
    types: Tensor | None,
    states: PromptStates,
    head: Tensor,
    soft: Tensor | None,
    answer: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states [B, T, M] of the rows' own tokens; on the way the rows are as wide as their prompts make them,
    [B, W, M], which is given, too, with which tokens there are, [B, W].

    So whatever reads answers finds them where the task put them: no soft token is pooled or labelled (PEFT pools
    one, and does not shift labels). Where a template says where the answer is read, and where a decoder has seen a
    whole row only at its last, soft, token, a sentence reads there.
    """
    tokenizer = backbone.tokenizer
    layouts = [bank.layouts[n] for n in chosen]
    special = torch.tensor(tokenizer.all_special_ids, device=ids.device)
    pad, label = tokenizer.pad_token_id or 0, tokenizer.mask_token_id
    # A decoder writes on from its row: the prompt stands around what is read, and what is written comes behind it.
    written = heads.written[head] & (not backbone.info.decodes)  # [B]
    length = mask.sum(1)
    text = (answer.int().argmax(1) + 1).where(written, length)
    wide = arrange(ids, mask, types, states.index, layouts, places, special, pad, label, soft, text)
    check_room(backbone, wide.last + 1)
    vectors = bank.vectors(chosen, places).index_select(0, wide.source)  # [S, E]
    beyond = wide.input_ids.shape[1] - ids.shape[1]
    states.entering = {layer: F.pad(rows, (0, 0, 0, beyond)) for layer, rows in states.entering.items()}
    hidden = backbone(
        wide.input_ids, wide.attention_mask, wide.token_type_ids, prompts=states, inserted=(wide.place, vectors)
    )  # [B, W, M]
    read = wide.last.where((wide.read < 0) & heads.pooled(head, "last"), wide.read)  # [B]
    read = torch.where(heads.pooled(head, "prompt"), wide.soft, read)
    elsewhere = (heads.pooled(head) & (read >= 0))[:, None]
    column = read[:, None].where(elsewhere, wide.column)  # [B, T]
    at = torch.arange(ids.shape[1], device=ids.device).expand_as(column)
    behind = (at + (wide.last + 1 - length)[:, None]).clamp(max=hidden.shape[1] - 1)  # of all that is put in
    column = behind.where(written[:, None] & (at >= text[:, None] - 1), column)
    own = hidden.gather(1, column[..., None].expand(-1, -1, hidden.shape[2]))
    return own, hidden, wide.attention_mask


def check_room(backbone: Backbone, needed: Tensor) -> None:
    """Raises InputError where rows take more positions, [B], than the backbone has."""
    widest, most = int(needed.max()), backbone.info.context
    if most is not None and widest > most:
        hint = "these prompts take positions: leave room for them (max_tokens)"
        raise InputError("a row has no room for its prompt", found=widest, expected=f"at most {most}", hint=hint)
