"""Encoder-decoders: prompts in the encoder, in the decoder and across, each by itself and in batches of all kinds."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from pipeline.backbone import describe, load_backbone
from pipeline.errors import InputError
from pipeline.model import PromptedModel, bank_on
from pipeline.tasks import HeadBank, make_head
from tests.families import ENCODER_DECODERS, family_backbone

KINDS = ("encoder", "encoder", "encoder", "decoder", "cross", "decoder", "cross")
STANDING = (None, (0, 1, 2), (3, 5), (4, 6), None, (2, 4))
"""All, each kind alone, all from the second layer up, and a mixture; numbers are of `KINDS`."""
PLACES = (4, 3, 2, 5, 1, 2)


@cache
def model_of(family):
    backbone, draw = load_backbone(str(family_backbone(family))), torch.Generator().manual_seed(4)
    info = backbone.info
    counts = [7, 3, 2, 2, 6, 2]
    prompts = [
        torch.randn(count, 2, info.heads, places, info.head_size, generator=draw)
        for count, places in zip(counts, PLACES, strict=True)
    ]
    bank = bank_on(info, prompts, standing=[tuple(range(7)) if one is None else one for one in STANDING])
    return PromptedModel(backbone, bank, HeadBank([make_head("classification", "ab", "mean")], info.width, [0]))


def texts(rows=6, read=(7, 3, 5, 6, 2, 4), written=(4, 5, 2, 3, 1, 5)):
    draw = torch.Generator().manual_seed(3)
    pieces = []
    for lengths in (read, written):
        mask = torch.arange(max(lengths)) < torch.tensor(lengths[:rows])[:, None]
        pieces += [torch.randint(5, 90, mask.shape, generator=draw).where(mask, 0), mask]
    return pieces


def write(model, prompt, ids, mask, written, written_mask):
    states = model.states(torch.tensor(prompt))
    memory = model.backbone(ids, mask, prompts=states)
    return model.backbone.decode(written, written_mask, memory, mask, prompts=states)


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_the_sites_are_found_in_the_order_they_run(family):
    info = describe(str(family_backbone(family)))
    assert info.kinds == KINDS and info.layers == 7 and info.entrances == 3 and info.decodes and not info.causal
    assert info.standing == tuple(range(7)) and info.prompt_shape(4, 1, True) == (6, 2, 4, 4, 8)
    some = describe(str(family_backbone(family)), attention=("cross", "decoder"))
    assert some.standing == (3, 4, 5, 6) and some.prompt_shape(4, 0, True)[0] == 4
    with pytest.raises(InputError, match=r"prompt\.attention: .*no such attention"):
        describe(str(family_backbone(family)), attention=())


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_without_prompts_it_is_transformers_own_model(family):
    from transformers import AutoModel

    model = model_of(family)
    ids, mask, written, written_mask = texts()
    stock = AutoModel.from_pretrained(model.backbone.info.folder, attn_implementation="eager").eval()
    with torch.no_grad():
        wanted = stock(ids, mask.long(), decoder_input_ids=written, decoder_attention_mask=written_mask.long())[0]
        ours = model.backbone.decode(written, written_mask, model.backbone(ids, mask), mask)
    assert torch.allclose(ours[written_mask], wanted[written_mask], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_rows_of_prompts_in_different_attentions_get_what_they_get_alone(family):
    """And what they get with attention done the slow way, in which an absent prompt does not occur."""
    model = model_of(family)
    inputs = texts()
    prompt = [3, 0, 5, 1, 4, 2]
    with torch.no_grad():
        mixed = write(model, prompt, *inputs)
        for row, n in enumerate(prompt):
            ids, mask, written, written_mask = (one[row : row + 1] for one in inputs)
            read, wrote = int(mask.sum()), int(written_mask.sum())
            alone = write(model, [n], ids[:, :read], mask[:, :read], written[:, :wrote], written_mask[:, :wrote])
            assert torch.allclose(mixed[row, :wrote], alone[0], atol=1e-5, rtol=1e-4), (row, n)
            slow = _slowly(model, n, ids[:, :read], written[:, :wrote])
            assert torch.allclose(alone, slow, atol=1e-4, rtol=1e-4), (row, n)


def _slowly(model, n, ids, written):
    """One row through the stock model with an attention of a plain softmax; a prompt's columns have no bias."""
    import transformers

    places = dict(zip(model.bank.sites[n], model.bank.bake(n).unbind(0), strict=True))
    called = []

    def slow(module, query, key, value, attention_mask, scaling=None, position_bias=None, **kwargs):
        own = places.get(len(called))
        called.append(module)
        count = 0 if own is None else own.shape[2]
        if own is not None:
            key, value = torch.cat([own[0][None], key], 2), torch.cat([own[1][None], value], 2)
        scores = query @ key.transpose(-1, -2) * scaling
        if position_bias is not None:
            scores[..., count:] += position_bias
        if len(called) in (4, 6):  # the decoder to itself
            future = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).triu(1)
            scores[..., count:] = scores[..., count:].masked_fill(future, float("-inf"))
        return (scores.softmax(-1) @ value).transpose(1, 2), None

    transformers.AttentionInterface.register("slow-reference", slow)
    stock = transformers.AutoModel.from_pretrained(model.backbone.info.folder, attn_implementation="slow-reference")
    return stock.eval()(ids, decoder_input_ids=written, use_cache=False)[0]


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_each_attention_has_effect_and_gradient_the_encoder_too(family):
    """PEFT's prefix tuning does not touch T5's encoder (peers 3.1.8); here each kind changes what is written."""
    model = model_of(family)
    ids, mask, written, written_mask = texts(1)
    with torch.no_grad():
        bare = model.backbone.decode(written, written_mask, model.backbone(ids, mask), mask)
    for n in range(len(STANDING)):
        model.zero_grad()
        out = write(model, [n], ids, mask, written, written_mask)
        assert not torch.allclose(out, bare, atol=1e-3)
        out[written_mask].square().sum().backward()
        gradient = model.bank.encoders[n].value.grad
        assert bool((gradient.abs().amax((1, 2, 3, 4)) > 0).all()), STANDING[n]
    states = model.states(torch.tensor([1]))
    assert not torch.allclose(model.backbone(ids, mask, prompts=states), model.backbone(ids, mask), atol=1e-3)


@pytest.mark.parametrize("family", ENCODER_DECODERS)
@pytest.mark.parametrize("beams", [1, 2])
def test_writing_step_by_step_with_a_cache_is_writing_at_once(family, beams):
    """The prompts stand beside the cache and are not in it: what is written first does not see them twice."""
    from transformers import DynamicCache, EncoderDecoderCache

    model = model_of(family)
    ids, mask, written, written_mask = texts(written=(5,) * 6)
    states = model.states(torch.tensor([3, 0, 5, 1, 4, 2]))
    with torch.no_grad():
        memory = model.backbone(ids, mask, prompts=states).repeat_interleave(beams, 0)
        states, mask = states.repeated(beams), mask.repeat_interleave(beams, 0)
        written, written_mask = written.repeat_interleave(beams, 0), written_mask.repeat_interleave(beams, 0)
        at_once = model.backbone.decode(written, written_mask, memory, mask, prompts=states)
        past = EncoderDecoderCache(DynamicCache(), DynamicCache())
        steps = [
            model.backbone.decode(
                written[:, t : t + 1], written_mask[:, : t + 1], memory, mask, prompts=states, past=past
            )
            for t in range(written.shape[1])
        ]
    assert torch.allclose(torch.cat(steps, 1), at_once, atol=1e-5, rtol=1e-4)
    assert past.get_seq_length() == written.shape[1]


def test_rows_that_are_written_padded_on_the_left():
    model = model_of("bart")
    inputs = texts()
    by = inputs[3].sum(1)
    with torch.no_grad():
        right = write(model, [0, 1, 2, 3, 4, 5], *inputs)
        from pipeline.padding import turned

        left = write(model, [0, 1, 2, 3, 4, 5], *inputs[:2], turned(inputs[2], by), turned(inputs[3], by))
    assert torch.allclose(turned(left, -by)[inputs[3]], right[inputs[3]], atol=1e-5, rtol=1e-4)
