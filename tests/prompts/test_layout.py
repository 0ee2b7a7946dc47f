"""Where soft tokens stand, against a slow reference that builds each row by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.prompts import arrange, parse_layout, resize

CLS, SEP, MASK, PAD = 2, 3, 4, 0
SPECIAL = torch.tensor([PAD, CLS, SEP, MASK])
TEXTS = ("front", "after_first", "end", "{3} text {2}", "text {1} label", "{1} label {2} text", "label text {2}")
PAIRS = ("{2} text_a {3} text_b {1}", "text_a {1} label text_b", "{1} text_a text_b")


def slow(row, pair, layout, count):
    """A row as tokens and ("soft", place) in order, by words: every field and special token spelt out."""
    text_a, text_b = row
    soft = iter(range(count))
    if layout in ("front", "after_first", "end"):
        body = [CLS, *text_a, SEP] + ([*text_b, SEP] if pair else [])
        at = {"front": 0, "after_first": 1, "end": len(body)}[layout]
        return body[:at] + [("soft", i) for i in soft] + body[at:]
    counts = iter(parse_layout(layout).divide(count))
    made, closed = [CLS], 0
    words, fields = layout.split(), [w for w in layout.split() if w in ("text", "text_a", "text_b")]
    whole = text_a + ([SEP, *text_b] if pair and fields == ["text"] else [])
    pending = []
    for word in words:
        if word == "label":
            pending.append(MASK)
        elif word.startswith("{"):
            pending += [("soft", next(soft)) for _ in range(next(counts))]
        else:
            if word == "text_b":
                made, closed = [*made, SEP], 1
            made += pending + (text_b if word == "text_b" else whole if word == "text" else text_a)
            pending = []
    del closed
    return [*made, *pending, SEP]


texts = st.lists(st.integers(5, 40), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(texts, texts, st.integers(0, 3)), min_size=1, max_size=6), st.booleans(), st.data())
def test_every_row_is_what_it_would_be_built_by_itself(rows, pair, data):
    names = [data.draw(st.sampled_from((*TEXTS, *(PAIRS if pair else ())))) for _ in range(3)]
    counts = [data.draw(st.integers(0, 7)) for _ in names]
    layouts = [parse_layout(name) for name in names]
    prompts = [*layouts, None]  # the last prompt is deep: nothing is put into its rows
    places = [*counts, 0]
    own = [[CLS, *a, SEP, *b, SEP] if pair else [CLS, *a, SEP] for a, b, _ in rows]
    longest = max(map(len, own))
    ids = torch.tensor([one + [PAD] * (longest - len(one)) for one in own])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in own], dtype=torch.bool)
    types = torch.zeros_like(ids)
    index = torch.tensor([k for _, _, k in rows])
    found = arrange(ids, mask, types, index, prompts, places, SPECIAL, PAD, MASK)
    starts = [sum(places[:k]) for k in range(4)]
    width = found.input_ids.shape[1]
    at = {int(p): int(s) for p, s in zip(found.place, found.source, strict=True)}
    assert len(at) == len(found.place)
    for r, (a, b, k) in enumerate(rows):
        expected = slow((a, b), pair, names[k], counts[k]) if k < 3 else own[r]
        built = []
        for c in range(int(found.attention_mask[r].sum())):
            soft = at.get(r * width + c)
            built.append(int(found.input_ids[r, c]) if soft is None else ("soft", soft - starts[k]))
        assert built == expected, names[k] if k < 3 else "deep"
        assert (
            bool(found.attention_mask[r, : len(expected)].all()) and not found.attention_mask[r, len(expected) :].any()
        )
        assert (found.input_ids[r, len(expected) :] == PAD).all()
        assert found.input_ids[r, found.column[r, : len(own[r])]].tolist() == own[r]
        assert int(found.last[r]) == len(expected) - 1
        labelled = k < 3 and "label" in names[k]
        assert int(found.read[r]) == (expected.index(MASK) if labelled else -1)


def test_soft_tokens_are_of_the_segment_they_stand_in():
    ids = torch.tensor([[CLS, 7, SEP, 8, 9, SEP]])
    types = torch.tensor([[0, 0, 0, 1, 1, 1]])
    layout = [parse_layout("{1} text_a {2} text_b {1}")]
    found = arrange(ids, ids > 0, types, torch.tensor([0]), layout, [4], SPECIAL, PAD, None)
    assert found.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 40), st.integers(0, 40))
def test_pieces_keep_their_shares_and_a_shorter_prompt_is_part_of_a_longer_one(shares, one, other):
    layout = parse_layout(" text ".join(f"{{{n}}}" for n in shares[:2]) + ("" if len(shares) > 1 else " text"))
    assert layout.divide(sum(layout.shares)) == list(layout.shares)
    few, many = sorted((one, other))
    assert sum(layout.divide(many)) == many
    assert all(a <= b for a, b in zip(layout.divide(few), layout.divide(many), strict=True))
    prompt = torch.arange(many, dtype=torch.float)[:, None]
    cut = resize(prompt, few, lambda n: torch.full((n, 1), -1.0), layout)
    assert torch.equal(cut, prompt[layout.kept(many, few)])
    grown = resize(cut, many, lambda n: torch.full((n, 1), -1.0), layout)
    assert torch.equal(grown[layout.kept(many, few)], cut) and int((grown == -1).sum()) == many - few


WRONG = {
    "frnt": ["unknown place", "did you mean 'front'"],
    "{3} texte {2}": ["unknown word in the template", "found texte", "did you mean 'text'"],
    "{3} text_b text_a": ["fields do not fit", "text_a text_b"],
    "text label": ["no soft tokens", "at least once"],
    "{0} text": ["not a number of soft tokens", "found {0}"],
    "{2} label text label": ["label at most once"],
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_layout_is_refused_with_what_would_be(text):
    with pytest.raises(InputError) as told:
        parse_layout(text)
    assert all(part in told.value.message for part in WRONG[text])


def test_a_label_is_refused_where_the_tokenizer_has_no_mask():
    ids = torch.tensor([[CLS, 7, SEP]])
    layouts = [parse_layout("{1} text label")]
    with pytest.raises(InputError, match="label needs a mask token"):
        arrange(ids, ids > 0, None, torch.tensor([0]), layouts, [1], SPECIAL, PAD, None)
