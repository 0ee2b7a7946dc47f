"""One backbone, many prompts, one batch: a row gets what it would get alone, whatever shares the batch with it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from pipeline.backbone import load_backbone
from pipeline.model import PromptedModel
from pipeline.prompts import PromptBank
from pipeline.tasks import HeadBank, collate
from tests.tiny import FAMILIES, tiny_backbone

KINDS = ["cls", "token", "cls"]
CLASSES = [3, 5, 2]


@cache
def model_of(family, pooling="mean"):
    backbone = load_backbone("minilm" if family == "minilm" else str(tiny_backbone(family)))
    info = backbone.info
    draw = torch.Generator().manual_seed(4)
    prompts = [
        torch.randn(info.layers, 2, info.heads, places, info.head_size, generator=draw) for places in (5, 0, 2, 7)
    ]
    return PromptedModel(
        backbone, PromptBank(prompts, info.layers), HeadBank(CLASSES, info.width, [0, 1, 2], KINDS), pooling
    )


def rows_of(model, count=8):
    random = np.random.default_rng(1)
    rows = []
    for i in range(count):
        head = int(random.integers(3))
        ids = random.integers(5, model.backbone.info.vocabulary, int(random.integers(3, 11)))
        answer = [0] if KINDS[head] == "cls" else sorted(random.choice(len(ids), 2, replace=False).tolist())
        labels = random.integers(CLASSES[head], size=len(answer)).tolist()
        rows.append(({"input_ids": ids.tolist(), "answer": answer, "labels": labels}, i % 4, head))
    return rows


def batch_of(rows):
    plain, prompt, head = zip(*rows, strict=True)
    return collate(plain, prompt=prompt, head=head, pad_token_id=0)


def answers_by_row(model, rows):
    """(loss, logits [answers, classes]) per row."""
    with torch.no_grad():
        out = model(batch_of(rows))
    found = {}
    for logits, place in zip(out.logits, out.place, strict=True):
        for row in torch.unique(out.row[place]).tolist():
            found[row] = (out.loss[row], logits[out.row[place] == row])
    return [found[i] for i in range(len(rows))]


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_mixed_equals_separate(family, pooling):
    """Tasks of all kinds, unequal prompt lengths (one of them none at all), unequal rows."""
    model = model_of(family, pooling)
    rows = rows_of(model)
    for row, (loss, logits) in zip(rows, answers_by_row(model, rows), strict=True):
        ((alone_loss, alone_logits),) = answers_by_row(model, [row])
        assert torch.allclose(logits, alone_logits, atol=1e-5, rtol=1e-4)
        assert torch.allclose(loss, alone_loss, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_no_places_is_the_bare_model(family):
    model = model_of(family)
    bare = PromptedModel(model.backbone, None, model.heads)
    rows = [(row, 1, head) for row, _, head in rows_of(model)]
    for one, other in zip(answers_by_row(model, rows), answers_by_row(bare, rows), strict=True):
        assert torch.allclose(one[1], other[1], atol=1e-5)


def test_gradients_of_a_mixed_batch_are_those_of_its_rows():
    model = model_of("bert")
    rows = rows_of(model)

    def gradients(some):
        for p in model.trainable():
            p.grad = None
        model(batch_of(some)).loss.sum().backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.trainable()]

    whole = gradients(rows)
    parts = [gradients([row]) for row in rows]
    for place, expected in enumerate(whole):
        assert torch.allclose(sum(part[place] for part in parts), expected, atol=1e-5, rtol=1e-4)


def test_the_backbone_gets_no_gradient():
    model = model_of("bert")
    model(batch_of(rows_of(model))).loss.sum().backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all(not p.requires_grad for p in model.backbone.parameters())


def test_the_loss_of_a_row_is_the_mean_over_its_labelled_answers():
    model = model_of("bert")
    row = {"input_ids": [2, 9, 11, 12, 3], "answer": [1, 2, 3], "labels": [1, -100, 4]}
    ((loss, logits),) = answers_by_row(model, [(row, 0, 1)])
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([1, 4]))
    assert torch.allclose(loss, expected, atol=1e-6)
    unlabelled = {**row, "labels": [-100, -100, -100]}
    assert float(answers_by_row(model, [(unlabelled, 0, 1)])[0][0]) == 0.0
