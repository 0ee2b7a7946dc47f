"""Templates and label words: what they are read as, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import datasets
import pytest

from pipeline.errors import InputError
from pipeline.tasks import DataSource, Task, TaskSpec, encode_split
from pipeline.tasks.encoding.pattern import make_pattern
from pipeline.tasks.encoding.template import is_worded, parse_template, soft_of
from tests.tiny import _tokenizer

TEXT, PAIR = {"text": "text"}, {"text_a": "text_a", "text_b": "text_b", "question": "text_a"}
TOKENIZER = _tokenizer()
WORDS = {"bad": ["broken"], "good": ["soon", "today"]}


def pattern_of(template, words=WORDS, predicts="mask", verbal=True, fields=TEXT, labels=("bad", "good")):
    return make_pattern(template, words, verbal, fields, labels, TOKENIZER, predicts, "task 'mood'")


def tokens(row):
    return TOKENIZER.convert_ids_to_tokens(row["input_ids"])


def test_a_row_is_the_filled_template_as_the_tokenizer_reads_it():
    ((row,),) = pattern_of("the {text} is {mask} now .").encode({"text": ["order"]}, None)
    assert tokens(row) == ["[CLS]", "the", "order", "is", "[MASK]", "now", ".", "[SEP]"]
    assert row["read"] == [4] and row["answer"] == [4] and row["full_length"] == 8


def test_fields_of_a_pair_stand_where_the_template_says_under_either_name():
    chunk = {"text_a": ["my phone"], "text_b": ["is late"]}
    ((row,),) = pattern_of("{text_b} ? {mask} , {question}", fields=PAIR).encode(chunk, None)
    assert tokens(row)[1:-1] == ["is", "late", "?", "[MASK]", ",", "my", "phone"]


def test_text_that_looks_like_a_mask_or_a_brace_is_text():
    ((row,),) = pattern_of("{text} {{is}} {mask}").encode({"text": ["my [MASK] {mask}"]}, None)
    assert row["read"] == [len(row["input_ids"]) - 2]
    assert "".join(tokens(row)).count("[MASK]") == 2 and tokens(row).count("{") <= 2


@pytest.mark.parametrize(("limit", "orders"), [(9, 1), (10, 1), (12, 2), (40, 2)])
def test_a_row_that_is_too_long_loses_field_tokens_and_never_the_templates(limit, orders):
    chunk = {"text_a": ["phone " * 9], "text_b": ["order order"]}
    ((row,),) = pattern_of("a {text_a} is {mask} , {text_b} now", fields=PAIR).encode(chunk, limit)
    kept = tokens(row)
    assert len(kept) == min(limit, 18) and row["full_length"] == 18
    assert [one for one in kept if one not in ("phone", "order")] == ["[CLS]", "a", "is", "[MASK]", ",", "now", "[SEP]"]
    assert kept[row["read"][0]] == "[MASK]"
    assert kept.count("order") == orders  # of two fields the longer is cut first


def test_words_of_several_tokens_have_a_mask_each_and_a_sequence_per_number_of_masks():
    words = {"bad": ["zx"], "good": ["soon"]}
    pattern = pattern_of("{text} is {mask} .", words)
    assert TOKENIZER.tokenize("zx") == ["z", "##x"]
    ((one, two),) = pattern.encode({"text": ["it"]}, None)
    assert tokens(one).count("[MASK]") == 1 and tokens(two).count("[MASK]") == 2
    assert [tokens(two)[at] for at in two["read"]] == ["[MASK]"] * 2
    assert (one["answer"], two["answer"]) == (one["read"], [])  # a row has one answer
    assert pattern.verbalizer.places == 3


def test_a_decoder_reads_words_behind_the_text_and_shares_their_beginnings():
    words = {"bad": ["zxa", "zxb"], "good": ["soon"]}
    pattern = pattern_of("{text} is {mask}", words, "next")
    ((row,),) = pattern.encode({"text": ["order"]}, None)  # one sequence serves all three
    assert tokens(row) == ["[CLS]", "order", "is", "z", "##x"]  # no special token at the end
    assert row["read"] == [2, 3, 4]
    picked = sorted((q, TOKENIZER.convert_ids_to_tokens(t), c) for q, t, c, _ in pattern.verbalizer.picks)
    assert picked == sorted(
        [(0, "soon", 1), (0, "z", 0), (0, "z", 0), (1, "##x", 0), (1, "##x", 0), (2, "##a", 0), (2, "##b", 0)]
    )
    shares = {c: sum(s for _, _, label, s in pattern.verbalizer.picks if label == c) for c in (0, 1)}
    assert shares == pytest.approx({0: 1.0, 1: 1.0})


def test_soft_tokens_are_noted_where_they_stand():
    pattern = pattern_of("{2} {text} {1} is {mask} {3}", verbal=False)
    ((row,),) = pattern.encode({"text": ["my order"]}, None)
    assert tokens(row) == ["[CLS]", "my", "order", "is", "[MASK]", "[SEP]"]
    assert row["soft"] == [1, 3, 5] and pattern.template.soft == "{2} {1} {3}" and row["answer"] == [4]
    assert soft_of("{2} {a} {1}{1} b") == "{2} {2}" and soft_of("{a} b") is None


def test_a_template_names_something_in_braces():
    assert is_worded("{text} it was") and not is_worded("{3} text {2} label") and not is_worded("{{text}} {2}")


BAD = {
    "{txt} {mask}": ["unknown field", "found {txt}", "did you mean 'text'?"],
    "it was {mask}": ["shows no field"],
    "{text} {text} {mask}": ["a field twice"],
    "{mask} {text} {mask}": ["two masks"],
    "{text {mask}": ["a brace stands alone"],
    "{text} it was": ["no {mask}"],
}


@pytest.mark.parametrize("template", BAD)
def test_what_is_no_template_is_refused_with_what_would_be(template):
    with pytest.raises(InputError) as told:
        pattern_of(template)
    assert all(part in told.value.message for part in BAD[template]), told.value.message
    assert told.value.message.startswith("task 'mood', template")


BAD_WORDS = {
    "unknown label": ({"bda": ["lost"], "good": ["soon"], "bad": ["late"]}, ["found bda", "did you mean 'bad'?"]),
    "none": ({"good": ["soon"]}, ["the label 'bad' has no words"]),
    "same tokens": ({"bad": ["soon"], "good": ["late", "soon"]}, ["'bad' and 'good' are the same tokens", "soon"]),
    "twice": ({"bad": ["soon", " soon"], "good": ["late"]}, ["two words of label 'bad'"]),
    "unknown word": ({"bad": ["ä"], "good": ["late"]}, ["does not know the word of label 'bad'"]),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_words_that_cannot_tell_labels_apart_are_refused(case):
    words, parts = BAD_WORDS[case]
    with pytest.raises(InputError) as told:
        pattern_of("{text} {mask}", words)
    assert all(part in told.value.message for part in ["task 'mood', words", *parts]), told.value.message


@pytest.mark.parametrize("template", ["{text} {mask} then", "{text} it was {2}"])
def test_a_decoder_needs_the_words_at_the_end_and_a_token_to_read_them_at(template):
    with pytest.raises(InputError, match=r"goes on after its \{mask\}|ends with soft tokens"):
        pattern_of(template, predicts="next")


def test_without_words_a_label_is_its_own_name():
    assert pattern_of("{text} {mask}", None, labels=("late", "not_lost")).verbalizer.places == 3


def test_a_linear_head_reads_at_the_mask_or_as_the_pooling_says():
    assert not pattern_of("{text} is {mask}", None, verbal=False).pooled
    assert pattern_of("{text} is late", None, verbal=False).pooled
    with pytest.raises(InputError, match=r"leave \{mask\} out"):
        pattern_of("{text} is {mask}", None, "next", verbal=False)


def test_parse_keeps_what_the_user_wrote():
    assert parse_template(" a  {text} , b ", TEXT).pieces[0].value == "a  "


def test_encoded_rows_are_cached_by_template_and_words(tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["my order"], "label": ["bad"]})
    made = []
    for template, words in (("{text} is {mask}", WORDS), ("{text} was {mask}", WORDS), ("{text} is {mask}", None)) * 2:
        spec = TaskSpec("mood", "classification", DataSource(), template=template, words=words, head="verbalizer")
        task = Task(spec, ("bad", "late"), "accuracy", {"train": rows}, {"train": "0" * 64})
        if words is not None:
            task = replace(task, spec=replace(spec, words={"bad": ["lost"], "late": ["late"]}))
        split = encode_split(task, "train", TOKENIZER, context=32, cache_dir=tmp_path)
        made.append(split.take([0])[0][0]["input_ids"])
    assert made[:3] == made[3:] and made[0] != made[1]
    assert len(list((tmp_path / "encoded").glob("*.arrow"))) == 3  # none of another's template or words is taken


def test_a_limit_that_the_template_fills_is_refused():
    spec = TaskSpec("mood", "classification", DataSource(), template="{text} is {mask}", head="verbalizer")
    task = Task(spec, ("late", "soon"), "accuracy", {}, {"train": "0" * 64})
    with pytest.raises(InputError, match="more than the 4 of its template"):
        encode_split(task, "train", TOKENIZER, context=4, cache_dir=None)
