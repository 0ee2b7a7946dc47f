"""Where prompts enter: the seam changes a row's result by its own prompt and by nothing else."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.backbone import load_backbone
from tests.tiny import FAMILIES, states_of, tiny_backbone

TOLERANCE = 1e-5


@cache
def backbone(family):
    return load_backbone("minilm" if family == "minilm" else str(tiny_backbone(family)))


def prompts_for(model, count, places, seed=0):
    info = model.info
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(info.layers, count, 2, info.heads, places, info.head_size, generator=draw)


def ids_for(model, rows, tokens, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(5, model.info.vocabulary, (rows, tokens), generator=draw)


def plain_attention(model, family, ids, prompts):
    """The same forward with the seam's result computed the slow way: one row, an explicit softmax over prompt and
    tokens."""
    import transformers

    def slow(module, query, key, value, attention_mask, scaling=None, **kwargs):
        own = prompts[module.layer_idx]  # [2, H, P, D]
        key = torch.cat([own[0][None], key], dim=2)
        value = torch.cat([own[1][None], value], dim=2)
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(-1, -2) * scaling
        places, asked = own.shape[2], query.shape[2]
        if family in ("gpt2", "llama"):
            future = torch.ones(asked, asked, dtype=torch.bool).triu(1)
            scores[..., places:] = scores[..., places:].masked_fill(future, float("-inf"))
        return (scores.softmax(-1) @ value).transpose(1, 2), None

    transformers.AttentionInterface.register("slow-reference", slow)
    reference = transformers.AutoModel.from_pretrained(model.info.folder, attn_implementation="slow-reference").eval()
    return reference(input_ids=ids, use_cache=False).last_hidden_state


@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_the_seam_is_attention_over_prompt_and_tokens(family):
    model = backbone(family)
    ids = ids_for(model, 1, 9)
    prompts = prompts_for(model, 1, 5)
    states = states_of(prompts, torch.zeros(1, dtype=torch.long), torch.tensor([5]))
    ours = model(ids, torch.ones_like(ids, dtype=torch.bool), prompts=states)
    assert torch.allclose(ours, plain_attention(model, family, ids, prompts[:, 0]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_without_prompts_the_backbone_is_the_bare_model(family):
    from transformers import AutoModel

    model = backbone(family)
    ids = ids_for(model, 3, 8)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 5:] = False
    bare = AutoModel.from_pretrained(model.info.folder).eval()(input_ids=ids, attention_mask=mask.long())
    empty = states_of(prompts_for(model, 2, 0), torch.tensor([0, 1, 0]), torch.tensor([0, 0]))
    for prompts in (None, empty):
        ours = model(ids, mask, prompts=prompts)
        assert torch.allclose(ours[mask], bare.last_hidden_state[mask], atol=TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    tokens=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    data=st.data(),
)
def test_a_mixed_batch_gives_each_row_what_it_gets_alone(family, lengths, tokens, data):
    model = backbone(family)
    index = torch.tensor([data.draw(st.integers(0, len(lengths) - 1)) for _ in tokens])
    prompts = prompts_for(model, len(lengths), max(lengths))
    ids = ids_for(model, len(tokens), max(tokens))
    mask = torch.arange(max(tokens)) < torch.tensor(tokens)[:, None]
    mixed = model(ids, mask, prompts=states_of(prompts, index, torch.tensor(lengths)))
    for row, size in enumerate(tokens):
        own = int(index[row])
        alone = states_of(
            prompts[:, own : own + 1, :, :, : lengths[own]],
            torch.zeros(1, dtype=torch.long),
            torch.tensor([lengths[own]]),
        )
        expected = model(ids[row : row + 1, :size], torch.ones(1, size, dtype=torch.bool), prompts=alone)
        assert torch.allclose(mixed[row, :size], expected[0], atol=TOLERANCE, rtol=1e-4)


@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_order_and_padding_change_nothing(family):
    model = backbone(family)
    ids = ids_for(model, 4, 7)
    mask = torch.arange(7) < torch.tensor([7, 4, 2, 6])[:, None]
    prompts, lengths = prompts_for(model, 3, 6), torch.tensor([6, 2, 4])
    index = torch.tensor([2, 0, 1, 1])
    result = model(ids, mask, prompts=states_of(prompts, index, lengths))
    order = torch.tensor([3, 1, 0, 2])
    shuffled = model(ids[order], mask[order], prompts=states_of(prompts, index[order], lengths))
    wider_ids = torch.cat([ids, torch.full((4, 5), 3)], dim=1)
    wider_mask = torch.cat([mask, torch.zeros(4, 5, dtype=torch.bool)], dim=1)
    wider = model(wider_ids, wider_mask, prompts=states_of(prompts, index, lengths))
    for row in range(4):
        seen = mask[row]
        assert torch.allclose(shuffled[(order == row).nonzero()[0, 0]][seen], result[row][seen], atol=TOLERANCE)
        assert torch.allclose(wider[row, :7][seen], result[row][seen], atol=TOLERANCE, rtol=1e-4)


def test_upper_layers_only():
    model = backbone("bert")
    prompts = prompts_for(model, 1, 4)
    ids = ids_for(model, 2, 6)
    mask = torch.ones_like(ids, dtype=torch.bool)
    index = torch.zeros(2, dtype=torch.long)
    upper = model(ids, mask, prompts=states_of(prompts[2:], index, torch.tensor([4]), first_layer=2))
    everywhere = model(ids, mask, prompts=states_of(prompts, index, torch.tensor([4])))
    assert not torch.allclose(upper, everywhere, atol=1e-3)
    assert not torch.allclose(upper, model(ids, mask), atol=1e-3)


def test_a_prompt_takes_no_positions():
    """As many tokens as the model has positions, and a prompt besides."""
    model = backbone("bert")
    ids = ids_for(model, 1, 64)
    prompts = states_of(prompts_for(model, 1, 20), torch.zeros(1, dtype=torch.long), torch.tensor([20]))
    assert torch.isfinite(model(ids, torch.ones_like(ids, dtype=torch.bool), prompts=prompts)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_changes_no_gradient(family):
    found = []
    for checkpointing in (False, True):
        model = load_backbone(str(tiny_backbone(family)))
        if checkpointing:
            model.model.gradient_checkpointing_enable({"use_reentrant": False})
            model.model.train()  # transformers checkpoints in training mode only; dropout is off in these models
            for module in model.model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        kv = prompts_for(model, 2, 4).requires_grad_()
        ids = ids_for(model, 2, 6)
        states = states_of(kv, torch.tensor([0, 1]), torch.tensor([4, 3]))
        model(ids, torch.ones_like(ids, dtype=torch.bool), prompts=states).square().sum().backward()
        found.append(kv.grad)
    assert torch.allclose(found[0], found[1], atol=TOLERANCE, rtol=1e-4)


def test_bfloat16_backbone_with_float32_prompts():
    model = load_backbone(str(tiny_backbone("bert")), dtype="bfloat16")
    kv = prompts_for(model, 1, 4).requires_grad_()
    ids = ids_for(model, 2, 6)
    states = states_of(kv, torch.zeros(2, dtype=torch.long), torch.tensor([4]))
    hidden = model(ids, torch.ones_like(ids, dtype=torch.bool), prompts=states)
    hidden.float().sum().backward()
    assert hidden.dtype == torch.bfloat16 and kv.grad.dtype == torch.float32 and kv.grad.abs().sum() > 0


@pytest.mark.parametrize("family", ["bert", "llama", "minilm"])
def test_short_rows_in_bfloat16_on_a_processor_are_as_long_ones(family, monkeypatch):
    """Two ways to compute the same attention: they differ by bfloat16's rounding and no more."""
    from pipeline.backbone import attention

    model = load_backbone("minilm" if family == "minilm" else str(tiny_backbone(family)), dtype="bfloat16")
    exact = backbone(family)
    ids = ids_for(model, 4, 7)
    mask = torch.arange(7) < torch.tensor([7, 4, 2, 6])[:, None]
    prompts = 0.3 * prompts_for(model, 3, 6)
    found = {}
    for short in (0, 160):
        monkeypatch.setattr(attention, "SHORT", short)
        found[short] = model(ids, mask, prompts=states_of(prompts, [2, 0, 1, 1], [6, 2, 4])).float()[mask]
    truth = exact(ids, mask, prompts=states_of(prompts, [2, 0, 1, 1], [6, 2, 4]))[mask]
    size = truth.norm()
    assert (found[0] - found[160]).norm() < 0.02 * size
    assert (found[160] - truth).norm() < 1.5 * (found[0] - truth).norm() + 1e-3 * size
