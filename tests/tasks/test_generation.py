"""Rows of generation as sequences: what is read, what is written, what is cut and what never is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import write_rows

from pipeline.errors import InputError
from pipeline.tasks import TASK_TYPES, DataSource, Decoding, TaskSpec, check_spec, collate, load_task, prepare_task
from pipeline.tasks.encoding.encode import RowEncoder, end_of_text, make_encoder
from pipeline.tasks.types.generation import SEPARATOR, question


def task_of(folder, rows=None, **rules):
    data = write_rows(folder, "generation")
    if rows is not None:
        for split in ("train", "dev", "test"):
            (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec = TaskSpec("write", "generation", DataSource(path=str(data)), **rules)
    return load_task(spec, folder / "cache")


def prepared(folder, tokenizer, rows=None, context=64, predicts="next", **rules):
    task = task_of(folder, rows, **rules)
    return prepare_task(task, tokenizer, context=context, cache_dir=folder / "cache", predicts=predicts)


def test_a_row_answers_at_every_token_that_is_next(llama, tmp_path):
    rows = [{"input": "a cat", "references": ["one day", "two days later"]}]
    (row,) = prepared(tmp_path, llama, rows, decoding=Decoding(20)).encoded["train"].take([0])
    asked = [*llama("a cat")["input_ids"], *llama(SEPARATOR, add_special_tokens=False)["input_ids"]]
    for sequence, text in zip(row, rows[0]["references"], strict=True):
        told = llama(text, add_special_tokens=False)["input_ids"]
        assert sequence["input_ids"] == [*asked, *told]
        assert sequence["labels"] == [*told, llama.eos_token_id]
        assert sequence["answer"] == list(range(len(asked) - 1, len(asked) + len(told)))
        after = [*sequence["input_ids"], llama.eos_token_id]
        assert sequence["labels"] == [after[place + 1] for place in sequence["answer"]]
        assert question(sequence)["input_ids"] == asked


def test_an_encoder_reads_the_input_alone(llama, tmp_path):
    rows = [{"input": "a cat", "references": ["one day"]}]
    (row,) = prepared(tmp_path, llama, rows, predicts="answer").encoded["dev"].take([0])
    asked = llama("a cat")["input_ids"]
    batch = collate([row], prompt=[0], head=[0], pad_token_id=0)
    assert batch.attention_mask[0].tolist() == [n < len(asked) for n in range(batch.input_ids.shape[1])]
    assert batch.answer[0].nonzero()[0].item() == len(asked) - 1
    assert question(row[0])["input_ids"] == asked


WORD = st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "today"])
WORDS = st.lists(WORD, min_size=1, max_size=40).map(" ".join)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=3), st.integers(20, 90), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_whatever_is_cut_references_are_whole(llama, text, references, limit, most):
    spec = TaskSpec("w", "generation", DataSource(), max_tokens=limit, decoding=Decoding(most))
    from pipeline.tasks import Task

    encoder = make_encoder(Task(spec, ("text",), "bleu", {}, {}), llama, None, "next")
    found = RowEncoder(TASK_TYPES["generation"], encoder)({"input": [text], "references": [references]}, [0])
    between = llama(SEPARATOR, add_special_tokens=False)["input_ids"]
    for ids, answer, labels, full, own in zip(
        found["input_ids"], found["answer"], found["labels"], found["full_length"], references, strict=True
    ):
        told = llama(own, add_special_tokens=False)["input_ids"]
        assert labels[:-1] == told and ids[answer[0] + 1 :] == told
        asked = ids[: answer[0] + 1]
        assert len(asked) <= limit - most and asked[-len(between) :] == between
        whole = llama(text)["input_ids"]
        assert asked[: -len(between)] == whole[: len(asked) - len(between)]
        assert full == len(whole) + len(between) + len(told)


def test_a_reference_without_room_is_told_and_never_cut(llama, tmp_path):
    rows = [{"input": "a cat", "references": ["a day"]}, {"input": "a cat " * 40, "references": ["a day " * 30]}]
    with pytest.raises(InputError) as told:
        prepared(tmp_path, llama, rows, decoding=Decoding(8))
    assert "row 2 (" in told.value.message and "references are never cut" in (told.value.hint or "")
    (tmp_path / "long").mkdir()
    cut = prepared(tmp_path / "long", llama, [{**rows[1], "references": ["a day"]}], decoding=Decoding(8))
    assert cut.encoded["train"].truncated == 1
    (tmp_path / "refused").mkdir()
    refused = {"too_long": "refuse", "decoding": Decoding(8)}
    with pytest.raises(InputError, match="a row is longer than allowed"):
        prepared(tmp_path / "refused", llama, [{**rows[1], "references": ["a day"]}], **refused)


def test_a_text_needs_an_end(byte_level, minilm, tmp_path):
    with pytest.raises(InputError, match="no token that ends a text"):
        prepared(tmp_path, byte_level)
    assert end_of_text(minilm) == minilm.sep_token_id


def test_room_for_the_text_is_told_with_the_limit(llama, tmp_path):
    with pytest.raises(InputError, match="and the 64 of max_new_tokens"):
        prepared(tmp_path, llama, max_tokens=50)


@pytest.mark.parametrize(
    ("decoding", "said"),
    [
        (Decoding(0), "decoding.max_new_tokens must be at least 1"),
        (Decoding(5, beams=0), "decoding.beams must be at least 1"),
        (Decoding(5, length_penalty=2.0), "decoding.length_penalty goes with beams"),
    ],
)
def test_impossible_decoding_is_told(decoding, said):
    (problem,) = check_spec(TaskSpec("w", "generation", DataSource(path="x"), decoding=decoding))
    assert said in problem.message


def test_decoding_goes_with_types_that_write():
    (problem,) = check_spec(TaskSpec("w", "classification", DataSource(path="x"), decoding=Decoding()))
    assert "decoding goes with types that write texts, not with classification" in problem.message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input": "a", "references": []}, "'references' is empty"),
        ({"input": "a", "references": ["b", " "]}, "'references' is empty; found ' ' at place 1"),
        ({"input": " ", "references": ["b"]}, "'input' is empty"),
        ({"input": "a", "references": 3}, "'references' is not a list"),
    ],
)
def test_unsound_rows_are_told(row, said, tmp_path):
    with pytest.raises(InputError) as told:
        task_of(tmp_path, [row])
    assert said in told.value.message


def test_one_reference_may_stand_by_itself(tmp_path):
    assert task_of(tmp_path, [{"input": "a", "references": "b c"}]).gold("dev") == [["b c"]]
