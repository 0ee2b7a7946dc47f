"""On a GPU a row gets what it gets on the processor, whatever shares its batch."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import torch

from pipeline.backbone import load_backbone
from pipeline.model import PromptedModel
from pipeline.model.writing import write_tokens
from pipeline.tasks.decoding import Decoding
from tests.backbone.test_families import model_of as of_every_depth
from tests.families import EVERY
from tests.gpu.device import GPU
from tests.model import test_writing as writing
from tests.model.test_model import batch_of, model_of, rows_of


@cache
def twins(family):
    """The same prompts and heads on the same backbone: on the processor, and on the GPU."""
    here = model_of(family) if family == "minilm" else of_every_depth(family)
    return here, deepcopy(here).to(GPU)


@pytest.mark.parametrize("family", [*EVERY, "minilm"])
def test_losses_and_gradients_are_those_of_the_processor(family):
    """Prompts of every depth and of unequal lengths, rows of all kinds, in one batch."""
    found = []
    for model in twins(family):
        model.zero_grad()
        loss = model(batch_of(rows_of(model)).to(model.backbone.device)).loss
        loss.sum().backward()
        grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in model.trainable()]
        found.append((loss.detach().cpu(), [one.cpu() for one in grads]))
    (here, ours), (there, theirs) = found
    assert torch.allclose(here, there, atol=1e-4, rtol=1e-4)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= 1e-4 * max(1.0, float(one.norm()))


@pytest.mark.parametrize("family", [*EVERY, "minilm"])
def test_mixed_equals_separate_with_the_trunk_given_or_computed(family):
    model = twins(family)[1]
    rows = rows_of(model)
    batch = batch_of(rows).to(GPU)
    known = model.backbone.trunk(batch.input_ids, batch.attention_mask, None, [1, 2])
    with torch.no_grad():
        alone = torch.cat([model(batch_of([row]).to(GPU)).loss for row in rows])
        for given in (batch, replace(batch, trunk=known)):
            assert torch.allclose(model(given).loss, alone, atol=1e-5, rtol=1e-4)


def test_bfloat16_is_near_to_float32():
    """As a run holds the backbone on a GPU unless it is told otherwise."""
    model = twins("minilm")[1]
    coarse = PromptedModel(load_backbone("minilm", dtype="bfloat16", device=GPU), model.bank, model.heads)
    batch = batch_of(rows_of(model)).to(GPU)
    with torch.no_grad():
        fine, rough = model(batch).loss, coarse(batch).loss
    assert (rough - fine).abs().max() < 0.1 * fine.abs().max() and not torch.equal(fine, rough)


@pytest.mark.parametrize("family", writing.EVERY)
def test_what_is_written_is_what_the_processor_writes(family):
    """All prompts, deep and among the embeddings, in one batch; greedily, and three beams."""
    here = writing.model_of(family)
    there = deepcopy(here).to(GPU)
    texts = [writing.TEXTS[n % len(writing.TEXTS)] for n in writing.PROMPTS]
    batch = writing.batch_of(here, [writing.row_of(here, text) for text in texts], list(writing.PROMPTS))
    for how in (Decoding(max_new_tokens=5), Decoding(max_new_tokens=5, beams=3)):
        assert write_tokens(there, batch.to(GPU), how) == write_tokens(here, batch, how)
