"""Every family on the one seam: mixed equals separate, padding on either side, the trunk, gradients, checkpointing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from transformers import AutoTokenizer

from pipeline.backbone import load_backbone
from pipeline.backbone.families import FAMILIES
from pipeline.model import PromptedModel, bank_on
from pipeline.padding import turned
from tests.families import EVERY, family_backbone
from tests.model.test_model import answers_by_row, batch_of, heads_of, rows_of
from tests.tiny import states_of

DEPTHS = (3, 1, 2, 1)
PLACES = (5, 3, 0, 7)


@cache
def backbone_of(family, checkpointing=False):
    """Of an encoder-decoder the part that heads read: its prompts stand in the encoder alone."""
    return load_backbone(str(family_backbone(family)), attention=["encoder"], checkpointing=checkpointing)


@cache
def model_of(family, checkpointing=False):
    """Prompts of every depth and of unequal lengths, one of them of none, in one bank."""
    backbone, draw = backbone_of(family, checkpointing), torch.Generator().manual_seed(4)
    info = backbone.info
    assert info.prompted(0) == info.entrances == max(DEPTHS)
    shapes = [info.prompt_shape(p, info.entrances - d, True) for d, p in zip(DEPTHS, PLACES, strict=True)]
    prompts = [torch.randn(*shape, generator=draw) for shape in shapes]
    return PromptedModel(backbone, bank_on(info, prompts), heads_of(info.width))


def ragged(model, lengths=(7, 3, 5)):
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(5, model.info.vocabulary, (len(lengths), max(lengths)), generator=draw)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ids.where(mask, 0), mask  # 0 pads: RoBERTa counts positions by it


def test_every_family_that_is_named_is_tested():
    assert {family for kind in FAMILIES.values() for family in kind} == {name.partition("-")[0] for name in EVERY}


@pytest.mark.parametrize("family", EVERY)
def test_without_prompts_it_is_transformers_own_model_padded_on_either_side(family):
    from transformers import AutoModel

    backbone = backbone_of(family)
    ids, mask = ragged(backbone)
    stock = AutoModel.from_pretrained(backbone.info.folder, attn_implementation="eager").eval()
    stock = stock.get_encoder() if backbone.info.decodes else stock
    with torch.no_grad():
        wanted = stock(input_ids=ids, attention_mask=mask.long(), use_cache=False)[0]
        assert torch.allclose(backbone(ids, mask)[mask], wanted[mask], atol=1e-5, rtol=1e-4)
        ids, before = turned(ids, mask.sum(1)), mask.shape[1] - mask.sum(1)
        left = backbone(ids, torch.arange(mask.shape[1]) >= before[:, None])
        assert torch.allclose(turned(left, before)[mask], wanted[mask], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", EVERY)
def test_mixed_equals_separate_padded_on_either_side_and_with_the_trunk_given(family):
    model = model_of(family)
    rows = rows_of(model)
    batch = batch_of(rows)
    known = model.backbone.trunk(batch.input_ids, batch.attention_mask, None, [1, 2])
    by = batch.attention_mask.sum(1)  # turned by its own length a row stands at the end
    moved = {name: turned(getattr(batch, name), by) for name in ("input_ids", "attention_mask", "answer", "labels")}
    left = replace(batch, **moved, targets=turned(batch.targets, by))
    known_left = model.backbone.trunk(left.input_ids, left.attention_mask, None, [1, 2])
    alone = torch.stack([answers_by_row(model, [row])[0][0] for row in rows])
    for given in (batch, replace(batch, trunk=known), left, replace(left, trunk=known_left)):
        with torch.no_grad():
            assert torch.allclose(model(given).loss, alone, atol=1e-5, rtol=1e-4)
    assert torch.allclose(turned(known_left[2], -by)[batch.attention_mask], known[2][batch.attention_mask], atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_a_tokenizer_that_pads_on_the_left_makes_no_difference(family, tmp_path):
    """As decoders' tokenizers do it for transformers' `generate`; under prompts, and positions are learnt in two."""
    backbone = backbone_of(family)
    backbone.tokenizer.save_pretrained(tmp_path)
    texts, padded = ["cancel my order please", "late", "my card is lost"], {}
    prompts = torch.randn(3, 3, 2, backbone.info.heads, 4, 8, generator=torch.Generator().manual_seed(1))
    for side in ("right", "left"):
        tokenizer = AutoTokenizer.from_pretrained(tmp_path, padding_side=side)
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"].bool()
        assert bool(mask[:, 0 if side == "left" else -1].logical_not().any())
        with torch.no_grad():
            hidden = backbone(ids, mask, prompts=states_of(prompts, [2, 0, 1], [4, 2, 3]))
        padded[side] = [own[seen] for own, seen in zip(hidden, mask, strict=True)]
    for left, right in zip(padded["left"], padded["right"], strict=True):
        assert torch.allclose(left, right, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "llama", "albert", "t5"])
def test_rows_of_every_depth_that_all_begin_at_the_embeddings(family):
    """What writing token by token needs: no row enters higher up, and no order of rows is asked for."""
    model = model_of(family)
    ids, mask = ragged(model.backbone, (7, 3, 5, 6))
    order = [3, 0, 2, 1]
    with torch.no_grad():
        mixed = model.backbone(ids, mask, prompts=model.states(torch.tensor(order)))
        for row, n in enumerate(order):
            first = model.backbone.info.entrances - DEPTHS[n]
            alone = states_of(model.bank.bake(n)[:, None], [0], [PLACES[n]], first)
            wanted = model.backbone(ids[row : row + 1], mask[row : row + 1], prompts=alone)[0]
            assert torch.allclose(mixed[row][mask[row]], wanted[mask[row]], atol=1e-5, rtol=1e-4), n


@pytest.mark.parametrize("family", EVERY)
def test_every_layer_of_a_prompt_has_an_effect_and_checkpointing_changes_no_gradient(family):
    found = []
    for checkpointing in (False, True):
        model = model_of(family, checkpointing)
        model.zero_grad()
        model.train()
        model(batch_of(rows_of(model))).loss.sum().backward()
        found.append([torch.zeros_like(one) if one.grad is None else one.grad for one in model.trainable()])
    plain, checkpointed = found
    for n in (0, 1, 3):
        assert bool((plain[n].abs().amax((1, 2, 3, 4)) > 0).all()), f"a layer of prompt {n} has no effect"
    for one, other in zip(plain, checkpointed, strict=True):
        assert torch.allclose(one, other, atol=1e-6, rtol=1e-5)
    assert all(p.grad is None for p in model.backbone.parameters())


@pytest.mark.parametrize("family", ["bert", "albert", "opt", "t5"])
def test_checkpointing_keeps_the_layers_inputs_and_little_else(family):
    """Bytes that the pass keeps for the way back, counted where autograd packs them."""
    kept = {}
    for checkpointing in (False, True):
        model, seen = model_of(family, checkpointing), {}

        def pack(tensor, seen=seen):
            seen[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(batch_of(rows_of(model))).loss.sum()
        kept[checkpointing] = sum(seen.values())
    assert kept[True] < 0.6 * kept[False]
