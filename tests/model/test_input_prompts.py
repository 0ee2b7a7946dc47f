"""Input prompts in the one batch: rows get what they get alone, and what they would get built by hand."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from pipeline.backbone import load_backbone
from pipeline.model import PromptedModel, bank_on
from pipeline.prompts import PromptBank, parse_layout
from pipeline.tasks import HeadBank, collate, make_head
from tests.families import CONFIGS, family_backbone
from tests.model.test_model import answers_by_row, heads_of, rows_of
from tests.tiny import FAMILIES

LAYOUTS = (None, "front", None, "after_first", "end", "{2} text {3}", "{1} text label {1}", None)
LENGTHS = (4, 3, 0, 2, 5, 5, 2, 6)
ALL = [*FAMILIES, *CONFIGS, "minilm"]


@cache
def backbone_of(family):
    if family == "minilm":
        return load_backbone("minilm")
    return load_backbone(str(family_backbone(family)), attention=["encoder"])


@cache
def model_of(family, pooling="mean"):
    """Deep prompts of several depths and input prompts of every layout in one bank."""
    backbone = backbone_of(family)
    info, draw = backbone.info, torch.Generator().manual_seed(4)
    firsts = [0, 0, 0, 0, 0, 0, 0, info.entrances - 1]
    shapes = [
        info.prompt_shape(places, first, layout is None)
        for places, first, layout in zip(LENGTHS, firsts, LAYOUTS, strict=True)
    ]
    layouts = [None if layout is None else parse_layout(layout) for layout in LAYOUTS]
    bank = bank_on(info, [torch.randn(*shape, generator=draw) for shape in shapes], layouts)
    return PromptedModel(backbone, bank, heads_of(info.width, pooling))


def rows_for(model):
    """Rows of every kind, between special tokens, under the prompts in turn."""
    return [
        ([{**one, "input_ids": [2, *one["input_ids"], 3]} for one in sequences], i % len(LAYOUTS), head)
        for i, (sequences, _, head) in enumerate(rows_of(model, 2 * len(LAYOUTS)))
    ]


@pytest.mark.parametrize(
    ("family", "pooling"),
    [*((family, "mean") for family in ALL), *((f, p) for f in ("bert", "gpt2") for p in ("first", "last"))],
)
def test_deep_and_input_prompts_in_one_batch_equal_each_row_alone(family, pooling):
    """Which also says that padding, order, unequal lengths and other tasks change nothing (peers 4, 7, 3.3)."""
    model = model_of(family, pooling)
    rows = rows_for(model)
    for row, (loss, logits) in zip(rows, answers_by_row(model, rows), strict=True):
        ((alone_loss, alone_logits),) = answers_by_row(model, [row])
        assert torch.allclose(logits, alone_logits, atol=1e-5, rtol=1e-4), LAYOUTS[row[1]]
        assert torch.allclose(loss, alone_loss, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2", "electra", "roberta", "qwen3"])
@pytest.mark.parametrize("layout", ["front", "after_first", "end", "{2} text {3}"])
def test_an_input_prompt_is_its_vectors_among_the_embeddings(family, layout):
    """The stock model on `inputs_embeds` put together by hand, and the answer read at the row's own tokens."""
    from transformers import AutoModel

    model = model_of(family)
    number = LAYOUTS.index(layout)
    prompt, count = model.bank.bake(number), LENGTHS[number]
    ids = [2, 11, 7, 9, 3]
    before = {"front": 0, "after_first": 1, "end": 5, "{2} text {3}": 1}[layout]
    first = 2 if layout.startswith("{") else count  # how many of the places stand there; the rest before [SEP]
    order = [
        *range(before),
        *["soft"] * first,
        *range(before, 4),
        *["soft"] * (count - first),
        *range(max(before, 4), 5),
    ]
    stock = AutoModel.from_pretrained(model.backbone.info.folder, attn_implementation="eager").eval()
    embedded = stock.get_input_embeddings()(torch.tensor(ids))
    soft = iter(prompt)
    wide = torch.stack([next(soft) if one == "soft" else embedded[one] for one in order])
    hidden = stock(inputs_embeds=wide[None], attention_mask=torch.ones(1, len(order))).last_hidden_state[0]
    own = hidden[[order.index(t) for t in range(5)]]  # the row's own tokens, in order
    for head, expected in ((0, own.mean(0, keepdim=True)), (1, own[[1, 3]])):
        answer = [0] if head == 0 else [1, 3]
        row = {"input_ids": ids, "answer": answer, "labels": [0] * len(answer)}
        ((_, logits),) = answers_by_row(model, [(row, number, head)])
        wanted = torch.nn.functional.linear(expected, model.heads.weights[head], model.heads.biases[head])
        assert torch.allclose(logits, wanted, atol=1e-4, rtol=1e-4)


def test_a_sentence_is_read_where_the_template_says():
    """At the mask token that stands for `label`, whatever the pooling; words are read where they are."""
    number, ids = LAYOUTS.index("{1} text label {1}"), [2, 11, 7, 3]
    for pooling in ("mean", "first", "last"):
        model = model_of("bert", pooling)
        mask = model.backbone.tokenizer.mask_token_id
        ((_, logits),) = answers_by_row(model, [({"input_ids": ids, "answer": [0], "labels": [0]}, number, 0)])
        hidden = _by_hand(model, model.bank.bake(number), ids, mask)
        wanted = torch.nn.functional.linear(hidden, model.heads.weights[0], model.heads.biases[0])
        assert torch.allclose(logits[0], wanted, atol=1e-4)


def _by_hand(model, prompt, ids, mask):
    """[CLS] soft text [MASK] soft [SEP] through the stock model; the state at [MASK]."""
    from transformers import AutoModel

    stock = AutoModel.from_pretrained(model.backbone.info.folder, attn_implementation="eager").eval()
    look = stock.get_input_embeddings()
    own = look(torch.tensor([*ids, mask]))
    wide = torch.stack([own[0], prompt[0], own[1], own[2], own[4], prompt[1], own[3]])
    return stock(inputs_embeds=wide[None]).last_hidden_state[0, 4]


def test_a_decoder_reads_a_sentence_after_the_prompt_that_stands_behind_it():
    """Its last own token has not seen what comes after; read there, the prompt would have no effect at all."""
    model, number = model_of("gpt2", "last"), LAYOUTS.index("end")
    row = ({"input_ids": [11, 7, 9], "answer": [0], "labels": [1]}, number, 0)
    model.zero_grad()
    model(collate([row[0]], prompt=[number], head=[0], pad_token_id=0)).loss.sum().backward()
    gradient = model.bank.encoders[number].value.grad
    assert bool((gradient.abs().sum(1) > 0).all())
    model.zero_grad()


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_gradients_of_a_mixed_batch_are_those_of_its_rows(family):
    model = model_of(family)
    rows = rows_for(model)

    def gradients(some):
        model.zero_grad()
        plain, prompt, head = zip(*some, strict=True)
        model(collate(plain, prompt=prompt, head=head, pad_token_id=0)).loss.sum().backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.trainable()]

    whole, parts = gradients(rows), [gradients([row]) for row in rows]
    for place, expected in enumerate(whole):
        assert torch.allclose(sum(part[place] for part in parts), expected, atol=1e-5, rtol=1e-3)
    assert all(p.grad is None for p in model.backbone.parameters())
    model.zero_grad()


def test_cutting_an_input_prompt_is_the_shorter_prompt():
    model = model_of("bert")
    for layout in ("end", "{2} text {3}"):
        number = LAYOUTS.index(layout)
        parsed = parse_layout(layout)
        value = model.bank.bake(number)[parsed.kept(5, 3)]
        other = PromptedModel(model.backbone, PromptBank([value], 3, [parsed]), model.heads)
        row, _, head = rows_for(model)[0]
        with torch.no_grad():
            cut = model(collate([row], prompt=[number], head=[head], pad_token_id=0), places=3).loss
            assert torch.allclose(cut, other(collate([row], prompt=[0], head=[head], pad_token_id=0)).loss, atol=1e-6)


def test_bfloat16_rows_take_fp32_prompts():
    backbone = load_backbone("minilm", dtype="bfloat16")
    bank = PromptBank([torch.randn(3, 384)], 6, [parse_layout("front")])
    model = PromptedModel(backbone, bank, HeadBank([make_head("classification", "ab", "mean")], 384, [0]))
    batch = collate(
        [{"input_ids": [101, 2000, 102], "answer": [0], "labels": [1]}], prompt=[0], head=[0], pad_token_id=0
    )
    model(batch).loss.sum().backward()
    assert bank.encoders[0].value.grad.dtype == torch.float32 and bool(bank.encoders[0].value.grad.any())


@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_rows_that_enter_above_layers_without_any_prompt(family):
    """Input prompts and a head alone, which begins at the last layer: no layer has keys and values of a prompt."""
    backbone = backbone_of(family)
    info = backbone.info
    prompts = [torch.randn(*info.prompt_shape(3, 0, False)), torch.zeros(*info.prompt_shape(0, info.layers - 1, True))]
    bank = PromptBank(prompts, info.layers, [parse_layout("front"), None])
    model = PromptedModel(backbone, bank, heads_of(info.width))
    rows = [(row, i % 2, head) for i, (row, _, head) in enumerate(rows_for(model_of(family)))]
    for row, (_, logits) in zip(rows, answers_by_row(model, rows), strict=True):
        ((_, alone),) = answers_by_row(model, [row])
        assert torch.allclose(logits, alone, atol=1e-5, rtol=1e-4)
