"""One backbone, many prompts, one batch: a row gets what it would get alone, whatever shares the batch with it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backbone import load_backbone
from pipeline.model import PromptedModel
from pipeline.model.pooling import read_vectors
from pipeline.prompts import PromptBank
from pipeline.tasks import Head, HeadBank, collate
from pipeline.tasks.scoring.scales import CLASSES, LABELS, PLACES
from tests.tiny import FAMILIES, states_of, tiny_backbone

CLASSES_OF = {"cls": 3, "token": 5, "labels": 4, "poles": 2, "choice": 1, "span": 2, "pair": 3}
KINDS = list(CLASSES_OF)


def heads_of(width, pooling="mean"):
    """A head of every kind: one class of several, by sentence and by word; any of several labels; a number; a choice; a
    span; a class for two texts."""
    scales = {"labels": LABELS, "choice": PLACES, "span": PLACES}
    shapes = [
        Head(
            outputs,
            scales.get(kind, CLASSES),
            None if kind in ("token", "span") else "pair" if kind == "pair" else pooling,
            kind not in ("cls", "token", "pair"),
        )
        for kind, outputs in CLASSES_OF.items()
    ]
    return HeadBank(shapes, width, range(len(shapes)))


@cache
def model_of(family, pooling="mean"):
    backbone = load_backbone("minilm" if family == "minilm" else str(tiny_backbone(family)))
    info = backbone.info
    draw = torch.Generator().manual_seed(4)
    prompts = [
        torch.randn(info.layers, 2, info.heads, places, info.head_size, generator=draw) for places in (5, 0, 2, 7)
    ]
    return PromptedModel(backbone, PromptBank(prompts, info.layers), heads_of(info.width, pooling))


def rows_of(model, count=14):
    """(example, prompt, head): sequences of unequal length, one per row or, of choices and spans, several."""
    random = np.random.default_rng(1)
    rows = []
    for i in range(count):
        head = i % len(KINDS)
        kind, outputs = KINDS[head], CLASSES_OF[KINDS[head]]
        sequences = []
        for _ in range(int(random.integers(2, 4)) if kind in ("choice", "span") else 1):
            ids = random.integers(5, model.backbone.info.vocabulary, int(random.integers(3, 11)))
            several = kind in ("token", "span")
            answer = sorted(random.choice(len(ids), 2, replace=False).tolist()) if several else [0]
            labels = random.integers(outputs, size=len(answer)).tolist()
            one = {"input_ids": ids.tolist(), "answer": answer, "labels": labels}
            if kind == "poles":
                place = float(random.random())
                one["targets"] = [1 - place, place]
            elif kind == "pair":
                one["second"] = [int(random.integers(1, len(ids)))]
            elif kind not in ("cls", "token"):
                one["targets"] = random.integers(2, size=outputs * len(answer)).astype(float).tolist()
            sequences.append(one)
        rows.append((sequences, i % 4, head))
    return rows


def batch_of(rows):
    plain, prompt, head = zip(*rows, strict=True)
    return collate(plain, prompt=prompt, head=head, pad_token_id=0)


def answers_by_row(model, rows):
    """(loss, logits [answers, classes]) per unit."""
    batch = batch_of(rows)
    with torch.no_grad():
        out = model(batch)
    found = {}
    for logits, place in zip(out.logits, out.place, strict=True):
        unit = batch.unit[out.row[place]]
        for n in torch.unique(unit).tolist():
            found[n] = (out.loss[n], logits[unit == n])
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


@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_rows_enter_where_their_prompts_begin_and_get_what_they_get_alone(family):
    """Prompts of every depth in one batch; examples that stand in several rows; the trunk given or computed."""
    backbone = model_of(family).backbone
    info, draw = backbone.info, torch.Generator().manual_seed(4)
    shapes = [(info.layers, 5), (1, 3), (2, 5), (1, 7)]
    prompts = [torch.randn(k, 2, info.heads, p, info.head_size, generator=draw) for k, p in shapes]
    model = PromptedModel(backbone, PromptBank(prompts, info.layers), model_of(family).heads)
    examples = [row for row, _, _ in rows_of(model)[2:6]]
    heads = [head for _, _, head in rows_of(model)[2:6]]
    order = [(e, n) for n in (3, 0, 2, 1) for e in (2, 0, 3, 1)]
    batch = collate(
        examples,
        example=[e for e, _ in order],
        prompt=[n for _, n in order],
        head=[heads[e] for e, _ in order],
        pad_token_id=0,
    )
    layers = sorted({info.layers - k for k, _ in shapes} - {0})
    known = backbone.trunk(batch.input_ids, batch.attention_mask, None, layers)
    for told in (batch, replace(batch, trunk=known), replace(batch, trunk={layers[0]: known[layers[0]]})):
        with torch.no_grad():
            losses = model(told).loss
        for (e, n), loss in zip(order, losses, strict=True):
            alone = _bare_layers_below(model, prompts[n], examples[e], heads[e])
            assert torch.allclose(loss, alone, atol=1e-5, rtol=1e-4), (e, n)


def _bare_layers_below(model, prompt, example, head):
    """The row by itself, all layers run from the embeddings; the prompt is put into the upper ones directly."""
    info, batch = model.backbone.info, collate([example], prompt=[0], head=[head], pad_token_id=0)
    states = states_of(prompt[:, None], [0] * batch.size, [prompt.shape[3]], info.layers - len(prompt))
    with torch.no_grad():
        hidden = model.backbone(batch.input_ids, batch.attention_mask, prompts=states)
        row, column = batch.answer.nonzero(as_tuple=True)
        vectors, more = read_vectors(model.heads, hidden, batch.attention_mask, batch.head, row, column, batch.second)
        targets = None if batch.targets is None else batch.targets[row, column]
        return model.heads(vectors, row, batch.labels[row, column], batch.head, batch.unit, targets, None, more).loss[0]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=5), st.integers(0, 2**16))
def test_a_pair_is_read_as_both_means_their_difference_and_their_product(sizes, seed):
    """Texts of any lengths, the second perhaps cut off; among rows of another kind, in any order."""
    draw = torch.Generator().manual_seed(seed)
    width = max(a + b for a, b in sizes)
    hidden = torch.randn(2 * len(sizes), width, 8, generator=draw)
    mask = torch.arange(width) < torch.tensor([a + b for a, b in sizes] * 2)[:, None]
    second = torch.tensor([a for a, _ in sizes] * 2)
    heads = HeadBank([Head(2, CLASSES, "pair"), Head(2, CLASSES, "mean")], 8, [0, 1])
    head, row = torch.tensor([0] * len(sizes) + [1] * len(sizes)), torch.arange(2 * len(sizes))
    order = torch.randperm(len(row), generator=draw)
    hidden, mask, second, head = hidden[order], mask[order], second[order], head[order]
    vectors, more = read_vectors(heads, hidden, mask, head, row, torch.zeros_like(row), second)
    found = iter(more)
    for n, (states, length) in enumerate(zip(hidden, mask.sum(1).tolist(), strict=True)):
        if head[n]:
            assert torch.allclose(vectors[n], states[:length].mean(0), atol=1e-6)
            continue
        u, rest = states[: second[n]].mean(0), states[second[n] : length]
        v = rest.mean(0) if len(rest) else torch.zeros(8)
        assert torch.allclose(torch.cat([vectors[n], next(found)]), torch.cat([u, v, (u - v).abs(), u * v]), atol=1e-6)
    assert next(found, None) is None


def test_cutting_a_prompt_is_the_shorter_prompt():
    """What nested pretraining does in a step: the first places, the upper layers."""
    model = model_of("bert")
    rows = [(row, 0, head) for row, _, head in rows_of(model)]
    info = model.backbone.info
    cut = PromptBank([model.bank.bake(0)[1:, :, :, :3]], info.layers)
    other = PromptedModel(model.backbone, cut, model.heads)
    with torch.no_grad():
        assert torch.allclose(
            model(batch_of(rows), places=3, first_layer=1).loss, other(batch_of(rows)).loss, atol=1e-6
        )


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
