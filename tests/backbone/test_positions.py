"""Rows whose prompt takes up positions, beside rows whose prompt takes none."""

from __future__ import annotations

import pytest
import torch

from pipeline.backbone import load_backbone
from pipeline.errors import InputError
from pipeline.model import PromptedModel
from pipeline.prompts import PromptBank, parse_layout
from pipeline.tasks import collate
from tests.families import family_backbone
from tests.model.test_model import answers_by_row, heads_of
from tests.tiny import tiny_backbone

FAMILIES = ("bert", "roberta", "gpt2", "llama", "qwen3")
LENGTHS, FIRSTS, MOVING = (4, 3, 5, 2, 3), (0, 0, 1, 2, 0), (True, False, False, False, True)


def model_of(family):
    """Prompts that move their rows' tokens, prompts that do not and begin at any layer, and an input prompt."""
    folder = tiny_backbone(family) if family in ("bert", "gpt2", "llama") else family_backbone(family)
    backbone, draw = load_backbone(str(folder)), torch.Generator().manual_seed(4)
    info = backbone.info
    shapes = [info.prompt_shape(n, first, True) for n, first in zip(LENGTHS, FIRSTS, strict=True)]
    prompts = [torch.randn(*shape, generator=draw) for shape in (*shapes, info.prompt_shape(3, 0, False))]
    layouts = [*[None] * len(LENGTHS), parse_layout("front")]
    return PromptedModel(
        backbone, PromptBank(prompts, info.layers, layouts, moving=[*MOVING, False]), heads_of(info.width, "first")
    )


def rows_for():
    texts = [[2, 11, 7, 9, 15, 3], [2, 8, 3], [2, 30, 31, 6, 3], [2, 9, 3], [2, 7, 7, 3], [2, 40, 3], [2, 41, 12, 3]]
    return [({"input_ids": ids, "answer": [0], "labels": [0]}, n % 6, 0) for n, ids in enumerate(texts)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixed_batch_gives_each_row_what_it_gets_alone(family):
    model, rows = model_of(family), rows_for()
    with torch.no_grad():
        for row, (_, logits) in zip(rows, answers_by_row(model, rows), strict=True):
            ((_, alone),) = answers_by_row(model, [row])
            assert torch.allclose(logits, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_moving_changes_the_answer_and_none_but_of_its_rows(family):
    model, rows = model_of(family), rows_for()
    with torch.no_grad():
        moved = answers_by_row(model, rows)
        model.bank.moving = [False] * 6
        still = answers_by_row(model, rows)
    for (_, prompt, _), (_, a), (_, b) in zip(rows, moved, still, strict=True):
        assert torch.allclose(a, b, atol=1e-5) == (not [*MOVING, False][prompt])


def test_a_row_without_room_for_the_positions_is_refused():
    """Of 64 positions a prompt of 4 leaves 60."""
    model = model_of("bert")
    row = {"input_ids": [2, *[7] * 58, 3], "answer": [0], "labels": [0]}
    model(collate([row], prompt=[0], head=[0], pad_token_id=0))
    longer = {**row, "input_ids": [2, *[7] * 59, 3]}
    with pytest.raises(InputError, match="no room for its prompt; found 65; expected at most 64"):
        model(collate([row, longer], prompt=[0, 0], head=[0, 0], pad_token_id=0))
    # One of another prompt may be as long as the backbone reads, and is padding for the first.
    longest = {**row, "input_ids": [2, *[7] * 62, 3]}
    model(collate([row, longest], prompt=[0, 1], head=[0, 0], pad_token_id=0))


def test_a_prompt_that_moves_tokens_stands_in_all_layers():
    """What lies below a prompt's first layer is computed once for all prompts, with the rows' own positions."""
    for shape, layout in (((2, 2, 4, 3, 8), None), ((3, 32), parse_layout("front"))):
        with pytest.raises(ValueError, match="in all layers"):
            PromptBank([torch.zeros(shape)], 3, [layout], moving=[True])
