"""Writing under prompts: token for token what whole passes without a cache give, whoever else is in the batch."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.backbone import load_backbone
from pipeline.errors import InputError
from pipeline.model import PromptedModel
from pipeline.model.writing import write, write_tokens
from pipeline.prompts import PromptBank, make_encoder, parse_layout
from pipeline.tasks import HeadBank, collate, make_head
from pipeline.tasks.decoding import Decoding
from pipeline.tasks.encoding.encode import end_of_text
from tests.conftest import SHARED
from tests.families import language_model

STORIES = SHARED / "models" / "stories260K"
DECODERS = ("gpt2", "llama", "stories260K")
EVERY = (*DECODERS, "opt", "gpt_neox", "qwen3", "t5", "bart")
DEEP = ((0, 3), (2, 5), (0, 1), (1, 2))
"""First layer and places of the bank's deep prompts; behind them come the input prompts."""
LAYOUTS = ("front", "after_first", "end", "{2} text {3}")
PROMPTS = range(len(DEEP) + len(LAYOUTS))
TEXTS = ("the order", "my phone was lost today please", "a", "cancel the card now")


def folder_of(family):
    if family == "stories260K":
        if not STORIES.is_dir():
            pytest.skip(f"no model at {STORIES}")
        return STORIES
    return language_model(family)


@cache
def model_of(family, checkpointing=False):
    backbone = load_backbone(str(folder_of(family)), checkpointing=checkpointing)
    info, draw = backbone.info, torch.Generator().manual_seed(3)
    prompts = [torch.randn(info.prompt_shape(p, first, True), generator=draw) for first, p in DEEP]
    scale = float(backbone.embeddings[0].weight.std())
    prompts += [torch.randn(info.prompt_shape(5, 0, False), generator=draw) * scale for _ in LAYOUTS]
    layouts = [None] * len(DEEP) + [parse_layout(one) for one in LAYOUTS]
    bank = PromptBank(prompts, info.layers, layouts, entrances=info.entrances)
    return PromptedModel(backbone, bank, HeadBank([make_head("generation", ("text",), None)], info.width, [0]))


def row_of(model, text, told=()):
    """A row as the task encodes it: what is read, and what has been written of it."""
    asked = model.backbone.tokenizer(text)["input_ids"]
    answer = list(range(len(asked) - 1, len(asked) + len(told)))
    decodes = {"asked": [len(asked)]} if model.backbone.info.decodes else {}
    return {"input_ids": [*asked, *told], "answer": answer, "labels": [*told, 0], **decodes}


def batch_of(model, rows, prompts):
    return collate(rows, prompt=prompts, head=[0] * len(rows), pad_token_id=model.backbone.tokenizer.pad_token_id or 0)


@torch.no_grad()
def step_by_step(model, text, prompt, tokens):
    """The likeliest token each time, by whole passes over the row so far."""
    told: list[int] = []
    end = end_of_text(model.backbone.tokenizer)
    while len(told) < tokens:
        scores = model(batch_of(model, [row_of(model, text, told)], [prompt])).logits[0][-1]
        if int(scores.argmax()) == end:
            break
        told.append(int(scores.argmax()))
    return told


@pytest.mark.parametrize("family", EVERY)
def test_written_with_a_cache_as_step_by_step_without(family):
    """A batch of all prompts, deep and among the embeddings, of rows of unequal length: each as it is alone."""
    model = model_of(family)
    texts = [TEXTS[n % len(TEXTS)] for n in PROMPTS]
    batch = batch_of(model, [row_of(model, text) for text in texts], list(PROMPTS))
    told = write_tokens(model, batch, Decoding(max_new_tokens=5))
    for n, text in enumerate(texts):
        assert told[n] == step_by_step(model, text, n, 5), n
    assert len({tuple(one) for one in told}) > 2, "prompts make a difference"


@pytest.mark.parametrize("family", [*DECODERS, "t5"])
def test_scores_at_every_step_are_those_of_one_pass(family):
    """The scores that `generate` sees, against teacher forcing on what it wrote: in double precision, so that what
    differs is not rounding, which differs from processor to processor."""
    from pipeline.model.writing import _Rows

    model = deepcopy(model_of(family)).double()
    seen: list[torch.Tensor] = []
    original, kept = _Rows.step, seen

    def step(self, *given):
        kept.append(original(self, *given))
        return kept[-1]

    texts = TEXTS[:3]
    prompts = [1, len(DEEP), len(DEEP) + 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rows, "step", step)
        told = write_tokens(model, batch_of(model, [row_of(model, t) for t in texts], prompts), Decoding(5))
    for b, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
        with torch.no_grad():
            scores = model(batch_of(model, [row_of(model, text, told[b])], [prompt])).logits[0]
        for place in range(len(told[b])):
            assert torch.allclose(seen[place][b].double(), scores[place].double(), atol=1e-6, rtol=1e-6)


@given(st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(PROMPTS)), min_size=2, max_size=5), st.booleans())
@settings(max_examples=5, deadline=None)
def test_a_row_is_written_as_it_is_alone(rows, search):
    """Beams too: they follow their row, and its prompt them."""
    model, how = model_of("llama"), Decoding(max_new_tokens=5, beams=3 if search else 1)
    together = write_tokens(
        model, batch_of(model, [row_of(model, text) for text, _ in rows], [n for _, n in rows]), how
    )
    for (text, n), told in zip(rows, together, strict=True):
        assert write_tokens(model, batch_of(model, [row_of(model, text)], [n]), how) == [told]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_beams_find_texts_at_least_as_likely_and_find_them_again(family):
    model, prompts = model_of(family), [0, 1, 2]
    batch = batch_of(model, [row_of(model, text) for text in TEXTS[:3]], prompts)
    one, many = (write_tokens(model, batch, Decoding(6, beams=beams)) for beams in (1, 4))
    for b, prompt in enumerate(prompts):
        with torch.no_grad():
            losses = []
            for told in (one[b], many[b]):
                row = row_of(model, TEXTS[b], told)
                if len(told) < 6:
                    row["labels"][-1] = end_of_text(model.backbone.tokenizer)
                else:
                    row = {**row, "labels": row["labels"][:-1], "answer": row["answer"][:-1]}
                losses.append(float(model(batch_of(model, [row], [prompt])).loss))
        assert losses[1] <= losses[0] + 1e-5
    assert write_tokens(model, batch, Decoding(6, beams=4)) == many


@pytest.mark.parametrize("family", ["gpt2", "t5", "bart"])
def test_checkpointing_changes_no_gradient_of_what_is_written(family):
    """Of an encoder-decoder in all three of its attentions, and of soft tokens among the words."""
    found = []
    for checkpointing in (False, True):
        model = model_of(family, checkpointing)
        model.zero_grad()
        rows = [row_of(model, TEXTS[n % len(TEXTS)], told=(7, 9, 8)) for n in PROMPTS]
        model(batch_of(model, rows, list(PROMPTS))).loss.sum().backward()
        found.append([p.grad.clone() for encoder in model.bank.encoders for p in encoder.parameters()])
    for plain, checkpointed in zip(*found, strict=True):
        assert plain.abs().max() > 0 and torch.allclose(plain, checkpointed, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "stories260K", "bart"])
@pytest.mark.parametrize("beams", [1, 3])
def test_without_prompts_the_library_writes_the_same(family, beams):
    """The bare backbone against transformers' own model and its own `generate`."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    model = model_of(family)
    bare = PromptedModel(model.backbone, None, model.heads)
    tokenizer, end = model.backbone.tokenizer, end_of_text(model.backbone.tokenizer)
    rows = [row_of(model, text) for text in TEXTS]
    told = write_tokens(bare, batch_of(model, rows, [0] * len(rows)), Decoding(6, beams=beams))
    kind = AutoModelForSeq2SeqLM if model.backbone.info.decodes else AutoModelForCausalLM
    stock = kind.from_pretrained(folder_of(family)).eval()
    for row, text in zip(rows, told, strict=True):
        ids = torch.tensor([row["input_ids"]])
        found = stock.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, num_beams=beams, do_sample=False,
            eos_token_id=end, pad_token_id=tokenizer.pad_token_id or 0,
        )[0].tolist()  # fmt: skip
        behind = found[1:] if model.backbone.info.decodes else found[ids.shape[1] :]
        assert text == (behind[: behind.index(end)] if end in behind else behind)


def test_a_text_ends_at_its_end_and_others_go_on():
    model = model_of("stories260K")
    info, end = model.backbone.info, end_of_text(model.backbone.tokenizer)
    batch = batch_of(model, [row_of(model, text) for text in TEXTS], [0, 1, 2, 3])
    told = write_tokens(model, batch, Decoding(60))
    assert all(end not in one and len(one) <= 60 for one in told)
    texts = write(model, batch, Decoding(60))
    assert texts == [model.backbone.tokenizer.decode(one, skip_special_tokens=True).strip() for one in told]
    assert "<s>" not in "".join(texts) and "</s>" not in "".join(texts)
    with pytest.raises(InputError, match="have no room in the backbone's context"):
        write(model, batch, Decoding(info.context))


def test_padding_on_the_left_comes_to_numbers_in_bfloat16():
    """It sees nothing where no prompt stands, and what is made of it must not reach the rows."""
    backbone = load_backbone(str(folder_of("llama")), dtype="bfloat16")
    model = PromptedModel(backbone, None, model_of("llama").heads)
    texts = [TEXTS[2], TEXTS[1]]
    told = write_tokens(model, batch_of(model, [row_of(model, text) for text in texts], [0, 0]), Decoding(3))
    alone = [write_tokens(model, batch_of(model, [row_of(model, text)], [0]), Decoding(3))[0] for text in texts]
    assert told == alone


def test_a_baked_prompt_writes_as_the_one_that_is_trained():
    model = model_of("llama")
    info = model.backbone.info
    for encoder, shape, layout in (("mlp", info.prompt_shape(4, 0, True), None), ("bilstm+mlp", (4, 32), "front")):
        made = make_encoder(encoder, torch.randn(shape, generator=torch.Generator().manual_seed(1)), info.width, 0)
        layouts = [None if layout is None else parse_layout(layout)]
        trained = PromptedModel(model.backbone, PromptBank([made], info.layers, layouts), model.heads)
        baked = PromptedModel(model.backbone, PromptBank([trained.bank.bake(0)], info.layers, layouts), model.heads)
        batch = batch_of(model, [row_of(model, text) for text in TEXTS], [0] * len(TEXTS))
        for beams in (1, 2):
            how = Decoding(5, beams=beams)
            assert write_tokens(trained, batch, how) == write_tokens(baked, batch, how)
