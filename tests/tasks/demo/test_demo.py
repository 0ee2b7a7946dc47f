"""The demo suite: reproducible, split cleanly, valid, balanced."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.tasks import SPLITS
from pipeline.tasks.demo import DEMO_TASKS, demo_rows
from pipeline.tasks.demo.words import WORDS

COLUMNS = {
    "classification": {"text", "label"},
    "pair": {"text_a", "text_b", "label"},
    "token": {"tokens", "tags"},
}
TOPIC_ROW = {
    "text": "Good morning, is there a discount on the smart bracelet? I already have the speaker",
    "label": "wearables",
}
CONTACTS_ROW = {
    "tokens": [
        *["you", "can", "ask", "not", "for", "Lena", "Fox", "but", "for", "Hugo", "Lind", "at"],
        "3398",
        "79",
        "73",
    ],
    "tags": [*["O"] * 9, "B-person", "I-person", "O", "B-phone", "I-phone", "I-phone"],
}
LABELLED = [name for name, task in DEMO_TASKS.items() if task.type != "token"]
TAGGED = [name for name, task in DEMO_TASKS.items() if task.type == "token"]


@cache
def rows_of(name: str, split: str, seed: int = 0) -> list[dict[str, Any]]:
    return demo_rows(name, split, seed=seed)


def sentences(row: dict[str, Any]) -> Iterator[str]:
    if "tokens" in row:
        yield " ".join(row["tokens"])
    yield from (row[column] for column in ("text", "text_a", "text_b") if column in row)


def said(name: str, split: str) -> set[str]:
    return {sentence for row in rows_of(name, split) for sentence in sentences(row)}


def classes(name: str, split: str) -> Counter[str]:
    rows = rows_of(name, split)
    return Counter(label for row in rows for label in (row["tags"] if "tags" in row else [row["label"]]))


def test_the_suite_has_sources_in_three_types_and_three_few_shot_targets() -> None:
    sources = [task for task in DEMO_TASKS.values() if task.few_shot is None]
    assert len(sources) >= 8
    assert {task.type for task in sources} == set(COLUMNS)
    assert sorted(task.few_shot for task in DEMO_TASKS.values() if task.few_shot is not None) == [32, 128, 128]


@pytest.mark.parametrize("name", DEMO_TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_reproducible_of_the_promised_number_and_columns(name: str, split: str) -> None:
    rows = rows_of(name, split)
    assert demo_rows(name, split, seed=0) == rows
    assert rows_of(name, split, seed=1) != rows
    assert len(rows) == DEMO_TASKS[name].sizes[split]
    assert all(set(row) == COLUMNS[DEMO_TASKS[name].type] for row in rows)


def test_a_known_row_never_changes() -> None:
    # Guards against an order or a hash that differs between machines or interpreter starts.
    assert rows_of("topic", "train")[0] == TOPIC_ROW
    assert rows_of("contacts", "train")[0] == CONTACTS_ROW


@pytest.mark.parametrize("name", DEMO_TASKS)
def test_no_sentence_crosses_splits_under_any_seed(name: str) -> None:
    train = said(name, "train") | {sentence for row in rows_of(name, "train", seed=1) for sentence in sentences(row)}
    assert not train & said(name, "dev")
    assert not train & said(name, "test")
    assert not said(name, "dev") & said(name, "test")


def test_no_sentence_crosses_splits_between_tasks() -> None:
    every = {split: set().union(*(said(name, split) for name in DEMO_TASKS)) for split in SPLITS}
    assert not every["train"] & (every["dev"] | every["test"])


@pytest.mark.parametrize("name", DEMO_TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_no_row_is_repeated(name: str, split: str) -> None:
    rows = [tuple(sentences(row)) for row in rows_of(name, split)]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("name", DEMO_TASKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_train_has_every_label(name: str, seed: int) -> None:
    train, dev, test = (
        {label for row in rows_of(name, split, seed) for label in (row["tags"] if "tags" in row else [row["label"]])}
        for split in SPLITS
    )
    assert dev <= train
    assert test <= train
    if name in LABELLED:
        assert dev == test == train


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_balanced(name: str, split: str) -> None:
    counts = classes(name, split).values()
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("name", TAGGED)
@pytest.mark.parametrize("split", SPLITS)
def test_every_entity_is_frequent(name: str, split: str) -> None:
    spans = {tag: count for tag, count in classes(name, split).items() if tag.startswith("B-")}
    assert len(spans) >= 4
    assert min(spans.values()) >= 0.3 * len(rows_of(name, split))
    # What is taken back stays untagged, so that some words of every list are outside any span.
    assert any("not" in row["tokens"] for row in rows_of(name, split))


@pytest.mark.parametrize("name", TAGGED)
@pytest.mark.parametrize("split", SPLITS)
def test_tags_are_valid_bio_of_equal_length(name: str, split: str) -> None:
    for row in rows_of(name, split):
        assert len(row["tokens"]) == len(row["tags"])
        assert all(token and not re.search(r"\s|[{}<>#]", token) for token in row["tokens"])
        for before, tag in zip(["O", *row["tags"]], row["tags"], strict=False):
            assert re.fullmatch(r"O|[BI]-[a-z_]+", tag)
            assert not tag.startswith("I-") or before[2:] == tag[2:], row


@pytest.mark.parametrize("name", DEMO_TASKS)
def test_every_slot_is_filled_and_texts_stay_short(name: str) -> None:
    for split in SPLITS:
        for row in rows_of(name, split):
            for sentence in sentences(row):
                assert not re.search(r"[{}<>#|]|  ", sentence), sentence
                assert 3 <= len(sentence.split()) <= 33, sentence


def test_held_out_words_are_not_in_train_and_the_last_ones_in_test_only() -> None:
    text = {split: " ".join(s.lower() for name in DEMO_TASKS for s in said(name, split)) for split in SPLITS}

    def spoken(word: str, split: str) -> bool:
        return re.search(rf"(?<![\w-]){re.escape(word.lower())}(?![\w-])", text[split]) is not None

    for name in ("device", "place", "person", "good", "bad", "item", "span", "event"):
        for word in WORDS[name].held_out:
            assert not spoken(word, "train"), word
        last = WORDS[name].held_out[-1]
        assert not spoken(last, "dev"), last
        assert spoken(last, "test"), last


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(InputError) as task:
        demo_rows("intents", "train")
    assert task.value.nearest == "intent"
    with pytest.raises(InputError) as split:
        demo_rows("intent", "tests")
    assert split.value.nearest == "test"
