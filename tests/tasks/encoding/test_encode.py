from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from task_folders import MakeFolder
from transformers import PreTrainedTokenizerBase

from pipeline.errors import InputError
from pipeline.tasks import IGNORED, DataSource, EncodedSplit, Reading, Task, TaskSpec, encode_split, load_task
from pipeline.tasks.encoding.truncate import kept_positions
from pipeline.tasks.encoding.words import split_words_tokenizer

LONG = "unbelievable"  # several pieces in every tokenizer used here
ODD = "\u200e"  # a control character of which BERT's normalisation leaves nothing

TEXTS = [{"text": "the dog ran home", "label": "b"}, {"text": f"{LONG} " * 30, "label": "a"}]
PAIRS = [
    {"text_a": "the dog", "text_b": "ran home", "label": "b"},
    {"text_a": "a " * 30, "text_b": "b " * 4, "label": "a"},
]
TAGGED = [
    {"tokens": ["the", LONG, "dog"], "tags": ["O", "B-X", "I-X"]},
    {"tokens": ["the", ODD, "dog", "ran"], "tags": ["O", "B-X", "I-X", "O"]},
    {"tokens": [LONG] * 30, "tags": ["B-Y"] * 30},
]
ROWS: dict[str, list[dict[str, Any]]] = {"classification": TEXTS, "pair": PAIRS, "token": TAGGED}


@pytest.fixture(params=["minilm", "llama", "byte_level"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    chosen: PreTrainedTokenizerBase = request.getfixturevalue(request.param)
    return chosen


def task_of(make_folder: MakeFolder, kind: str, **rules: Any) -> Task:
    folder = make_folder(ROWS[kind], ROWS[kind], ROWS[kind])
    return load_task(TaskSpec("t", kind, DataSource(path=str(folder)), **rules), folder.parent / "cache")


def slow_words(tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> tuple[list[int], dict[int, int]]:
    """The reference: one word at a time; ids without special tokens, and the first piece of each word that has one."""
    ids: list[int] = []
    first: dict[int, int] = {}
    for index, token in enumerate(tokens):
        pieces = tokenizer([token], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        if pieces:
            first[index] = len(ids)
        ids += pieces
    return ids, first


def test_words_are_aligned_as_by_hand(
    make_folder: MakeFolder, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    task = task_of(make_folder, "token")
    encoded = encode_split(task, "dev", tokenizer, context=None, cache_dir=tmp_path / "cache")
    lead = len(tokenizer("the")["input_ids"]) - len(tokenizer("the", add_special_tokens=False)["input_ids"])
    lead = min(lead, 1)  # one special token before the words, if any
    by_word = split_words_tokenizer(tokenizer)
    for row, raw in zip(encoded.rows, TAGGED, strict=True):
        ids, first = slow_words(by_word, raw["tokens"])
        assert row["input_ids"][lead : lead + len(ids)] == ids
        assert row["words"] == list(first)
        assert row["answer"] == [lead + position for position in first.values()]
        assert row["labels"] == [task.labels.index(raw["tags"][word]) for word in first]
    assert encoded.truncated == 0
    assert encoded.lengths.tolist() == [len(ids) for ids in encoded.rows["input_ids"]]


def test_a_word_without_pieces_has_no_answer(
    make_folder: MakeFolder, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    encoded = encode_split(task_of(make_folder, "token"), "dev", minilm, context=None, cache_dir=tmp_path / "cache")
    assert encoded.rows["words"][1] == [0, 2, 3]


def test_words_in_a_list_read_as_in_running_text(byte_level: PreTrainedTokenizerBase) -> None:
    before = byte_level("the dog ran", add_special_tokens=False)["input_ids"]
    changed = split_words_tokenizer(byte_level)
    words = changed(["the", "dog", "ran"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert words[1:] == before[1:]
    assert byte_level("the dog ran", add_special_tokens=False)["input_ids"] == before, "the given one is unchanged"


@pytest.mark.parametrize("context", [12, 200])
def test_where_the_second_text_of_a_pair_begins(
    make_folder: MakeFolder, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, context: int
) -> None:
    """What stands from there on is the second text as far as it is kept, and nothing of the first."""
    rows = encode_split(task_of(make_folder, "pair"), "dev", tokenizer, context=context, cache_dir=tmp_path).rows
    special = set(tokenizer.all_special_ids)
    for one, pair in zip(rows, PAIRS, strict=True):
        (second,) = one["second"]
        halves = [
            [i for i in part if i not in special] for part in (one["input_ids"][:second], one["input_ids"][second:])
        ]
        both = tokenizer(pair["text_a"], pair["text_b"])
        owners = both.sequence_ids()
        whole = [[i for i, own in zip(both["input_ids"], owners, strict=True) if own == n] for n in (0, 1)]
        assert all(half == text[: len(half)] and half for half, text in zip(halves, whole, strict=True))
        assert halves == whole or context == 12


@pytest.mark.parametrize("kind", ["classification", "pair"])
def test_a_sentence_is_encoded_as_the_tokenizer_does(
    make_folder: MakeFolder, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, kind: str
) -> None:
    task = task_of(make_folder, kind)
    encoded = encode_split(task, "dev", tokenizer, context=20, cache_dir=tmp_path / "cache")
    for row, raw in zip(encoded.rows, ROWS[kind], strict=True):
        texts = [raw["text"]] if kind == "classification" else [raw["text_a"], raw["text_b"]]
        alone = tokenizer(*texts, truncation="longest_first", max_length=20)
        assert row["input_ids"] == alone["input_ids"]
        assert row.get("token_type_ids") == alone.get("token_type_ids")
        assert row["answer"] == row["words"] == [0]
        assert row["labels"] == [task.labels.index(raw["label"])]
    assert encoded.truncated == 1
    assert encoded.lengths[1] == 20
    assert len(encoded) == 2


@given(st.integers(1, 30), st.integers(0, 30), st.integers(5, 24), st.sampled_from(["right", "left"]))
@settings(max_examples=60, deadline=None)
def test_rows_are_cut_as_the_tokenizer_cuts_them(
    minilm: PreTrainedTokenizerBase, first: int, second: int, limit: int, side: str
) -> None:
    texts = [" ".join(["the", "dog"] * size)[: 4 * size] for size in (first, second) if size]
    whole = minilm(*texts)
    expected = minilm(*texts, truncation="longest_first", max_length=limit)
    if side == "left":
        other = copy.deepcopy(minilm)
        other.truncation_side = "left"
        expected = other(*texts, truncation="longest_first", max_length=limit)
    kept = kept_positions(whole.sequence_ids(0), limit, side) if len(whole["input_ids"]) > limit else None
    for name in ("input_ids", "token_type_ids"):
        cut = whole[name] if kept is None else [whole[name][place] for place in kept]
        assert cut == expected[name]


def test_truncation_is_counted_and_loses_the_last_words(
    make_folder: MakeFolder, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    task = task_of(make_folder, "token")
    whole = encode_split(task, "dev", tokenizer, context=None, cache_dir=tmp_path / "cache")
    limit = int(whole.lengths[:2].max())
    cut = encode_split(task, "dev", tokenizer, context=limit, cache_dir=tmp_path / "cache")
    assert (whole.truncated, cut.truncated) == (0, 1)
    assert cut.lengths.max() == limit
    assert cut.rows[0] == whole.rows[0] and cut.rows[1] == whole.rows[1]
    words = cut.rows["words"][2]
    assert words == list(range(len(words))) and 0 < len(words) < 30
    readings = [
        Reading(torch.ones(len(words), 1), {"words": words}, {"tags": tags})
        for words, tags in zip(cut.rows["words"], task.gold("dev"), strict=True)
    ]
    answers = [task.kind.read(reading, task.labels, "span_f1", None) for reading in readings]
    assert [len(answer) for answer in answers] == [3, 4, 30]


def test_the_tasks_own_limit_holds_besides_the_contexts(
    make_folder: MakeFolder, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    task = task_of(make_folder, "classification", max_tokens=9)
    assert encode_split(task, "dev", minilm, context=20, cache_dir=tmp_path).lengths.max() == 9
    assert encode_split(task, "dev", minilm, context=7, cache_dir=tmp_path).lengths.max() == 7


def test_rows_that_are_too_long_can_be_refused(
    make_folder: MakeFolder, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    task = task_of(make_folder, "token", too_long="refuse")
    full = int(encode_split(task, "dev", minilm, context=None, cache_dir=tmp_path).lengths[2])
    with pytest.raises(InputError) as caught:
        encode_split(task, "dev", minilm, context=16, cache_dir=tmp_path)
    assert f"row 3 ({full} tokens)" in caught.value.message
    assert "at most 16 tokens" in caught.value.message


def test_a_limit_without_room_for_text_is_refused(
    make_folder: MakeFolder, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="more than the 3 special tokens"):
        encode_split(task_of(make_folder, "pair"), "dev", minilm, context=3, cache_dir=tmp_path)


def test_unseen_labels_are_ignored_in_training_and_kept_in_gold(
    make_folder: MakeFolder, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    odd = [{"text": "the dog", "label": "z"}, *TEXTS]
    folder = make_folder(TEXTS, odd, TEXTS)
    spec = TaskSpec("t", "classification", DataSource(path=str(folder)), unseen_labels="count")
    task = load_task(spec, tmp_path / "cache")
    encoded = encode_split(task, "dev", minilm, context=None, cache_dir=tmp_path / "cache")
    assert encoded.rows["labels"][:] == [[IGNORED], [1], [0]]
    assert task.gold("dev") == ["z", "b", "a"]


def test_a_split_saved_and_loaded_is_the_same(
    make_folder: MakeFolder, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    encoded = encode_split(task_of(make_folder, "token"), "dev", minilm, context=12, cache_dir=tmp_path / "cache")
    encoded.save(tmp_path / "saved")
    loaded = EncodedSplit.load(tmp_path / "saved")
    assert loaded.rows.to_list() == encoded.rows.to_list()
    assert loaded.rows.cache_files
    np.testing.assert_array_equal(loaded.lengths, encoded.lengths)
    for fact in ("task", "truncated"):
        assert getattr(loaded, fact) == getattr(encoded, fact)
    assert loaded.take([2, 0]) == [[encoded.rows[2]], [encoded.rows[0]]]


def test_encoding_is_cached_by_what_it_follows_from(
    make_folder: MakeFolder, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    task = task_of(make_folder, "classification")

    def files() -> set[Path]:
        return set((tmp_path / "encodings").rglob("*.arrow"))

    encode_split(task, "dev", minilm, context=20, cache_dir=tmp_path / "encodings")
    once = files()
    minilm("a call that truncates changes the tokenizer's state", truncation=True, max_length=5)
    encode_split(task, "dev", minilm, context=20, cache_dir=tmp_path / "encodings")
    assert files() == once
    encode_split(task, "dev", minilm, context=19, cache_dir=tmp_path / "encodings")
    assert len(files()) == len(once) + 1
