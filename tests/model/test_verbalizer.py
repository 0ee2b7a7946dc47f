"""Label words in the one batch: scores are the language model's own, and rows get what they get alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from pipeline.backbone import load_backbone
from pipeline.model import PromptedModel, bank_on
from pipeline.padding import turned
from pipeline.prompts import parse_layout
from pipeline.tasks import HeadBank, collate, make_head
from pipeline.tasks.encoding.pattern import make_pattern
from tests.backbone.test_vocabulary import STORIES, whole_model
from tests.families import language_model

MODELS = ("bert", "gpt2", "llama", "stories260K", "t5", "bart")
LABELS = ("bad", "good", "so so")
WORDS = {"bad": ["broken"], "good": ["soon", "now please"], "so so": ["late card lost"]}
TEXTS = (
    "my order is here",
    "the phone was not lost",
    "a laptop",
    "your card is late now please cancel my refund today",
)


@cache
def backbone_of(model):
    if model == "stories260K" and not STORIES.is_dir():
        pytest.skip(f"no model at {STORIES}")
    return load_backbone(str(STORIES if model == "stories260K" else language_model(model)))


@cache
def pattern_of(model, template="{text} it was {mask}", verbal=True):
    info, tokenizer = backbone_of(model).info, backbone_of(model).tokenizer
    return make_pattern(
        template, WORDS if verbal else None, verbal, {"text": "text"}, LABELS, tokenizer, info.predicts, ""
    )


def rows_of(pattern, texts=TEXTS):
    """Encoded rows of a template, the first label theirs."""
    rows = pattern.encode({"text": list(texts)}, None)
    return [[{**one, "labels": [0] * len(one["answer"])} for one in row] for row in rows]


def by_hand(model, texts=TEXTS):
    """Each label's score from the plain language model: whole sequences, one word at a time."""
    backbone = backbone_of(model)
    tokenizer, whole = backbone.tokenizer, whole_model(backbone.info.folder)
    scores = torch.zeros(len(texts), len(LABELS))
    for r, text in enumerate(texts):
        for c, label in enumerate(LABELS):
            worth = []
            for word in WORDS[label]:
                if backbone.info.decodes:
                    own = tokenizer(word)["input_ids"]
                    own = own[:-1] if own[-1] == tokenizer.sep_token_id else own
                    ids, start = tokenizer(f"{text} it was")["input_ids"], whole.config.decoder_start_token_id
                    how = {"input_ids": torch.tensor([ids]), "decoder_input_ids": torch.tensor([[start, *own]])}
                    logs = whole(**how).logits[0].log_softmax(-1)
                    count = len(tokenizer(word, add_special_tokens=False)["input_ids"])
                    worth.append([logs[at, own[at]] for at in range(len(own) - count, len(own))])
                elif backbone.info.causal:
                    before = tokenizer(f"{text} it was")["input_ids"]
                    before = before[:-1] if before[-1] == tokenizer.sep_token_id else before
                    both = tokenizer(f"{text} it was {word}")["input_ids"]
                    both = both[:-1] if both[-1] == tokenizer.sep_token_id else both
                    assert both[: len(before)] == before
                    logs = whole(input_ids=torch.tensor([both])).logits[0].log_softmax(-1)
                    worth.append([logs[at - 1, both[at]] for at in range(len(before), len(both))])
                else:
                    own = tokenizer(word, add_special_tokens=False)["input_ids"]
                    ids = tokenizer(f"{text} it was " + "[MASK] " * len(own))["input_ids"]
                    logs = whole(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
                    masks = [at for at, one in enumerate(ids) if one == tokenizer.mask_token_id]
                    worth.append([logs[at, token] for at, token in zip(masks, own, strict=True)])
            scores[r, c] = torch.stack([torch.stack(one).mean() for one in worth]).mean()
    return scores


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_the_mean_log_probabilities_of_the_words(model):
    """Without a prompt, and under one of no places: the batch pads rows of several lengths and sequences."""
    backbone, pattern = backbone_of(model), pattern_of(model)
    heads = HeadBank([make_head("classification", LABELS, None, pattern.verbalizer)], backbone.info.width, [0])
    nothing = bank_on(backbone.info, [torch.zeros(backbone.info.prompt_shape(0, 2, True))])
    with torch.no_grad():
        expected = by_hand(model)
        for bank in (None, nothing):
            count = len(TEXTS)
            batch = collate(rows_of(pattern), prompt=[0] * count, head=[0] * count, pad_token_id=0)
            found = PromptedModel(backbone, bank, heads)(batch)
            assert torch.allclose(found.logits[0], expected, atol=1e-4)
            assert torch.allclose(found.loss, -expected.log_softmax(1)[:, 0], atol=1e-4)  # the one loss
    assert sum(p.numel() for p in heads.parameters()) == 0


@cache
def mixed_model(model):
    """Prompts of every kind, and heads of both: hard, soft in a template, in front, and deep; words and linear."""
    backbone = backbone_of(model)
    info, draw = backbone.info, torch.Generator().manual_seed(3)
    patterns = [
        pattern_of(model),
        pattern_of(model, "{2} {text} {1} it was {mask}"),
        pattern_of(model, "{text} it is {mask} now" if info.predicts == "mask" else "{text} it is", verbal=False),
    ]
    heads = [make_head("classification", LABELS, "last" if one.pooled else None, one.verbalizer) for one in patterns]
    kinds = [  # pattern, layout, shape
        (0, None, info.prompt_shape(0, info.entrances - 1, True)),
        (0, None, info.prompt_shape(3, 0, True)),
        (0, None, info.prompt_shape(5, info.entrances - 1, True)),
        (0, "front", info.prompt_shape(2, 0, False)),
        (1, "{2} {1}", info.prompt_shape(3, 0, False)),
        (1, "{2} {1}", info.prompt_shape(6, 0, False)),
        (2, None, info.prompt_shape(4, 1, True)),
        (2, "front", info.prompt_shape(3, 0, False)),
    ]
    prompts = [torch.randn(*shape, generator=draw) * 0.3 for _, _, shape in kinds]
    layouts = [None if layout is None else parse_layout(layout) for _, layout, _ in kinds]
    bank = bank_on(info, prompts, layouts)
    rows = [(row, n, kind) for n, (kind, _, _) in enumerate(kinds) for row in rows_of(patterns[kind])]
    return PromptedModel(backbone, bank, HeadBank(heads, info.width, range(len(heads)))), rows


def answers_of(model, rows):
    plain, prompt, head = zip(*rows, strict=True)
    answers = model(collate(plain, prompt=prompt, head=head, pad_token_id=0))
    logits = [None] * len(answers.row)
    for place, own in zip(answers.place, answers.logits, strict=True):
        for at, one in zip(place.tolist(), own, strict=True):
            logits[at] = one
    return list(zip(logits, answers.loss, strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_hard_soft_and_deep_rows_in_one_batch_equal_each_alone(model):
    """Padding, order, other templates, prompts and heads change nothing."""
    prompted, rows = mixed_model(model)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).tolist()
    rows = [rows[n] for n in order]
    with torch.no_grad():
        for row, (logits, loss) in zip(rows, answers_of(prompted, rows), strict=True):
            ((alone, its_loss),) = answers_of(prompted, [row])
            assert torch.allclose(logits, alone, atol=1e-4) and torch.allclose(loss, its_loss, atol=1e-4), row[1:]


@pytest.mark.parametrize("model", ["bert", "gpt2"])
def test_gradients_of_a_mixed_batch_are_those_of_its_rows_and_reach_every_prompt(model):
    prompted, rows = mixed_model(model)

    def gradients(some):
        prompted.zero_grad()
        loss = sum(loss for _, loss in answers_of(prompted, some))
        assert loss.requires_grad or some[0][1] == 0  # a hard prompt's row alone has nothing to train
        prompted.backbone.backward(loss)
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in prompted.trainable()]

    whole, parts = gradients(rows), [gradients([row]) for row in rows]
    for place, expected in enumerate(whole):
        assert torch.allclose(sum(part[place] for part in parts), expected, atol=1e-4, rtol=1e-3)
        assert not expected.numel() or bool(expected.any())
    assert all(p.grad is None for p in prompted.backbone.parameters())
    prompted.zero_grad()


def test_soft_tokens_stand_between_the_templates_words():
    """The stock model on `inputs_embeds` put together by hand."""
    backbone = backbone_of("bert")
    prompted, rows = mixed_model("bert")
    row = next(one for one in rows if one[1] == 4)
    value, ids = prompted.bank.bake(4), row[0][0]["input_ids"]
    whole = whole_model(backbone.info.folder)
    look = whole.get_input_embeddings()(torch.tensor(ids))
    cut = ids.index(backbone.tokenizer.convert_tokens_to_ids("i"))  # "it" begins
    wide = torch.cat([look[:1], value[:2], look[1:cut], value[2:], look[cut:]])
    logs = whole(inputs_embeds=wide[None]).logits[0].log_softmax(-1)
    at = ids.index(backbone.tokenizer.mask_token_id) + 3
    expected = logs[at, backbone.tokenizer.convert_tokens_to_ids("broken")]
    ((found, _),) = answers_of(prompted, [row])
    assert torch.allclose(found[0], expected, atol=1e-4)


def test_the_vocabulary_is_computed_where_rows_are_read_and_nowhere_else(monkeypatch):
    """A verbalizer's places alone, however wide the batch is; for linear rows none at all (peers, section 3.4)."""
    prompted, rows = mixed_model("bert")
    seen, scores = [], prompted.backbone.scores
    monkeypatch.setattr(prompted.backbone, "scores", lambda hidden: (seen.append(len(hidden)), scores(hidden))[1])
    with torch.no_grad():
        answers_of(prompted, [row for row in rows if row[1] == 6])
        assert seen == []
        answers_of(prompted, rows)
    words = sum(row[1] < 6 for row in rows)
    assert seen == [words * pattern_of("bert").verbalizer.places]


def test_rows_padded_on_the_left_are_read_where_they_are():
    prompted, rows = mixed_model("bert")
    plain, prompt, head = zip(*rows, strict=True)
    right = collate(plain, prompt=prompt, head=head, pad_token_id=0)
    before = right.attention_mask.sum(1) - right.attention_mask.shape[1]  # columns to turn by, to the right
    names = ("input_ids", "attention_mask", "answer", "labels", "read")
    left = replace(right, **{name: turned(getattr(right, name), before) for name in names})
    with torch.no_grad():
        assert torch.allclose(prompted(left).loss, prompted(right).loss, atol=1e-5)
