from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tasks import IGNORED, collate, length_batches


@st.composite
def encoded_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of unequal length, with any answer positions."""
    segments = draw(st.booleans())
    rows: list[dict[str, Any]] = []
    for length in draw(st.lists(st.integers(1, 12), min_size=1, max_size=6)):
        answer = sorted(draw(st.sets(st.integers(0, length - 1))))
        row: dict[str, Any] = {
            "input_ids": draw(st.lists(st.integers(1, 99), min_size=length, max_size=length)),
            "answer": answer,
            "labels": draw(st.lists(st.integers(0, 4) | st.just(IGNORED), min_size=len(answer), max_size=len(answer))),
            "words": list(range(len(answer))),
        }
        if segments:
            row["token_type_ids"] = draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
        rows.append(row)
    return rows


@given(encoded_rows(), st.integers(0, 50))
def test_a_batch_holds_each_row_and_nothing_else(rows: list[dict[str, Any]], pad: int) -> None:
    numbers = list(range(len(rows)))
    batch = collate(rows, prompt=numbers, head=numbers[::-1], pad_token_id=pad)
    longest = max(len(row["input_ids"]) for row in rows)
    assert batch.size == len(rows)
    assert batch.input_ids.shape == batch.attention_mask.shape == batch.answer.shape == batch.labels.shape
    assert batch.input_ids.shape == (len(rows), longest)
    for index, row in enumerate(rows):
        mask = batch.attention_mask[index]
        assert batch.input_ids[index][mask].tolist() == row["input_ids"]
        assert (batch.input_ids[index][~mask] == pad).all()
        assert mask.int().diff().le(0).all(), "padding is on the right"
        assert batch.answer[index].nonzero()[:, 0].tolist() == row["answer"]
        assert batch.labels[index][batch.answer[index]].tolist() == row["labels"]
        assert (batch.labels[index][~batch.answer[index]] == IGNORED).all()
        if "token_type_ids" in row:
            assert batch.token_type_ids is not None
            assert batch.token_type_ids[index][mask].tolist() == row["token_type_ids"]
        else:
            assert batch.token_type_ids is None
    assert batch.prompt.tolist() == numbers
    assert batch.head.tolist() == numbers[::-1]
    assert batch.weight.tolist() == [1.0] * len(rows)


def test_types_weights_and_devices() -> None:
    rows = [{"input_ids": [1, 2], "answer": [0], "labels": [3]}]
    batch = collate(rows, prompt=[4], head=[5], pad_token_id=0, weight=[0.25])
    assert batch.input_ids.dtype == batch.labels.dtype == batch.prompt.dtype == batch.head.dtype == torch.int64
    assert batch.attention_mask.dtype == batch.answer.dtype == torch.bool
    assert batch.weight.dtype == torch.float32 and batch.weight.tolist() == [0.25]
    moved = batch.to("meta")
    assert moved.input_ids.is_meta and moved.weight.is_meta and moved.token_type_ids is None


def test_unequal_arguments_are_refused() -> None:
    rows = [{"input_ids": [1, 2], "answer": [0], "labels": [3]}]
    with pytest.raises(ValueError, match="1 rows"):
        collate(rows, prompt=[0, 1], head=[0], pad_token_id=0)
    with pytest.raises(ValueError, match="1 rows"):
        collate(rows, prompt=[0], head=[0], pad_token_id=0, weight=[])
    with pytest.raises(ValueError, match="at least one row"):
        collate([], prompt=[], head=[], pad_token_id=0)


@given(st.lists(st.integers(1, 512), max_size=300), st.integers(1, 40), st.none() | st.integers(0, 9))
def test_every_row_comes_exactly_once(lengths: list[int], size: int, seed: int | None) -> None:
    batches = length_batches(np.asarray(lengths, dtype=np.int32), size, seed=seed)
    rows = [int(row) for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(lengths)))
    assert sorted(len(batch) for batch in batches)[1:] == [size] * (len(batches) - 1)
    again = length_batches(lengths, size, seed=seed)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


@given(st.lists(st.integers(1, 512), min_size=1, max_size=100), st.integers(1, 40))
def test_evaluation_goes_from_long_to_short(lengths: list[int], size: int) -> None:
    order = np.concatenate(length_batches(lengths, size))
    assert (np.diff(np.asarray(lengths)[order]) <= 0).all()


def test_training_batches_are_alike_in_length_and_shuffled() -> None:
    lengths = np.random.default_rng(0).integers(1, 129, size=4096)
    batches = length_batches(lengths, 32, seed=1)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    assert padded < 1.1 * lengths.sum()
    other = length_batches(lengths, 32, seed=2)
    assert {tuple(sorted(batch.tolist())) for batch in batches} != {tuple(sorted(batch.tolist())) for batch in other}
    longest = [int(lengths[batch].max()) for batch in batches]
    assert longest != sorted(longest, reverse=True)


def test_a_batch_needs_rows() -> None:
    assert length_batches([], 4) == []
    with pytest.raises(ValueError, match="positive"):
        length_batches([1, 2], 0)
