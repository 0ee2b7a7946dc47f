"""Every mistake in data is told with its file and line, before any compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from task_folders import TEXTS, MakeFolder

from pipeline.errors import InputError, InputErrors
from pipeline.tasks import DataSource, TaskSpec, load_task

NER = [{"tokens": ["Ann", "ran"], "tags": ["B-PER", "O"]}, {"tokens": ["Ann", "Lee"], "tags": ["B-PER", "I-PER"]}]


def refusal(folder: Path, kind: str = "classification", **rules: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        load_task(TaskSpec("t", kind, DataSource(path=str(folder)), **rules), folder.parent / "cache")
    return caught.value


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"text": "a", "label"', ["broken JSON"]),
        ("[1, 2]", ["not a JSON object"]),
        ('"text"', ["not a JSON object"]),
        (b'{"text": "caf\xe9", "label": "yes"}', ["not UTF-8", "save the file as UTF-8"]),
        ("[" * 100_000, ["nested too deeply"]),
        ({"txt": "a", "label": "yes"}, ["no column 'text'", "found txt, label", "did you mean 'txt'?", "columns:"]),
        ({"text": "a"}, ["no column 'label'", "columns:"]),
        ({}, ["no column 'text'", "no column at all"]),
        ({"text": 3, "label": "yes"}, ["'text' is not text", "found 3"]),
        ({"text": None, "label": "yes"}, ["'text' is not text", "None"]),
        ({"text": " \t", "label": "yes"}, ["'text' is empty"]),
        ('{"text": "half \\ud83d", "label": "yes"}', ["surrogate"]),
        ({"text": "a", "label": None}, ["no label", "null"]),
        ({"text": "a", "label": ""}, ["no label", "''"]),
        ({"text": "a", "label": 1.5}, ["not a label", "1.5"]),
        ({"text": "a", "label": ["yes"]}, ["not a label", "yes"]),
    ],
)
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_bad_row_is_told_with_file_and_line(make_folder: MakeFolder, split: str, row: Any, words: list[str]) -> None:
    folder = make_folder(**{split: [*TEXTS, "", row]})
    message = refusal(folder).message
    assert message.startswith(f"{folder / split}.jsonl:4: ")
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, ["differ in length", "2 and 1"]),
        ({"tokens": [], "tags": []}, ["'tokens' is empty"]),
        ({"tokens": "a b", "tags": ["O", "O"]}, ["'tokens' is not a list", "a b"]),
        ({"tokens": ["a", 3], "tags": ["O", "O"]}, ["not a word", "3 at word 2"]),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, ["not a word", "word 2"]),
        ({"tokens": ["a", "b"], "tags": ["O", None]}, ["no label", "word 2"]),
        ({"tokens": ["a"], "tags": ["I-PER"]}, ["malformed BIO", "'I-PER' at the first word", "B-PER"]),
        ({"tokens": ["a", "b"], "tags": ["O", "I-PER"]}, ["malformed BIO", "'I-PER' after 'O' at word 2"]),
        ({"tokens": ["a", "b"], "tags": ["B-LOC", "I-PER"]}, ["malformed BIO", "'I-PER' after 'B-LOC' at word 2"]),
        ({"tokens": ["a", "b"], "tags": ["B-PER", "E-PER"]}, ["malformed BIO", "'E-PER' at word 2", "token_accuracy"]),
    ],
)
def test_a_bad_tagged_row_is_told_with_file_line_and_word(make_folder: MakeFolder, row: Any, words: list[str]) -> None:
    folder = make_folder([*NER, row], NER, NER)
    problem = refusal(folder, "token", unseen_labels="count")
    assert problem.message.startswith(f"{folder / 'train'}.jsonl:3: ")
    assert all(word in problem.message for word in words), problem.message


def test_malformed_bio_is_accepted_as_plain_tags(make_folder: MakeFolder) -> None:
    folder = make_folder([*NER, {"tokens": ["a"], "tags": ["I-PER"]}], NER, NER)
    spec = TaskSpec("t", "token", DataSource(path=str(folder)), metric="token_accuracy")
    assert load_task(spec, folder.parent / "cache").metric == "token_accuracy"


def test_span_f1_on_tags_that_are_not_bio_is_refused(make_folder: MakeFolder) -> None:
    rows = [{"tokens": ["a", "b"], "tags": ["NOUN", "VERB"]}]
    problem = refusal(make_folder(rows, rows, rows), "token", metric="span_f1")
    assert "malformed BIO" in problem.message and "'NOUN' at word 1" in problem.message


def test_rows_with_the_same_mistake_are_told_once(make_folder: MakeFolder) -> None:
    folder = make_folder([*TEXTS, *({"text": "", "label": "yes"} for _ in range(20))])
    problem = refusal(folder)
    assert not isinstance(problem, InputErrors)
    assert "train.jsonl:3" in problem.message
    assert "also in line 4, 5, 6, 7 and 15 more" in problem.message


def test_mistakes_of_several_kinds_and_splits_are_told_together(make_folder: MakeFolder) -> None:
    folder = make_folder([*TEXTS, "{"], [*TEXTS, {"text": 1, "label": "no"}], [{"text": "a", "label": None}])
    problem = refusal(folder)
    assert isinstance(problem, InputErrors)
    starts = [one.message.split(": ")[0] for one in problem.problems]
    assert starts == [f"{folder}/train.jsonl:3", f"{folder}/dev.jsonl:3", f"{folder}/test.jsonl:1"]


def test_no_more_than_ten_mistakes_are_shown(make_folder: MakeFolder) -> None:
    folder = make_folder(dev=[{"text": "a", "label": f"new {number}"} for number in range(14)])
    lines = refusal(folder).message.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 4 more mistakes of other kinds"


def test_an_unseen_label_is_named_with_its_rows(make_folder: MakeFolder) -> None:
    folder = make_folder(test=[*TEXTS, {"text": "a", "label": "maybe"}, {"text": "b", "label": "maybe"}])
    message = refusal(folder).message
    assert message.startswith(f"{folder / 'test'}.jsonl:3: label 'maybe' is in 2 rows of test but not in train")
    assert "also in line 4" in message and "unseen_labels: count" in message


def test_unseen_labels_are_not_told_of_a_train_split_that_was_not_read_whole(make_folder: MakeFolder) -> None:
    folder = make_folder([TEXTS[0], '{"text": "bad food", "label": "no"'])
    problem = refusal(folder)
    assert "broken JSON" in problem.message and "not in train" not in problem.message


def test_an_empty_split_is_told(make_folder: MakeFolder) -> None:
    folder = make_folder(dev=["", "  "])
    message = refusal(folder).message
    assert message == f"{folder / 'dev'}.jsonl: the dev split has no rows"


def test_one_label_alone_is_no_task(make_folder: MakeFolder) -> None:
    folder = make_folder(TEXTS[:1], TEXTS[:1], TEXTS[:1])
    assert "every row of train has the same label" in refusal(folder).message


def test_a_byte_order_mark_is_no_mistake(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder()
    train = folder / "train.jsonl"
    plain = load_task(TaskSpec("t", "classification", DataSource(path=str(folder))), tmp_path / "cache")
    train.write_bytes(b"\xef\xbb\xbf" + train.read_bytes())
    marked = load_task(TaskSpec("t", "classification", DataSource(path=str(folder))), tmp_path / "cache")
    assert plain.fingerprints == marked.fingerprints


def test_csv_mistakes_have_lines(make_folder: MakeFolder) -> None:
    folder = make_folder()
    (folder / "train.jsonl").unlink()
    train = folder / "train.csv"
    train.write_bytes(b'text,label\n"two\nlines",yes\nfood,no\nfood\n')
    assert refusal(folder).message.startswith(f"{train}:5: a row of another width")
    train.write_bytes(b'text,label\n"two\nlines",yes\nfood,\n')
    assert refusal(folder).message.startswith(f"{train}:4: 'label' has no label")
    train.write_bytes(b"text,label\ncaf\xe9,yes\n")
    assert refusal(folder).message.startswith(f"{train}:2: not UTF-8")
    train.write_bytes(b'text,label\nfood,yes\n"open,no\n')
    assert refusal(folder).message.startswith(f"{train}:3: broken CSV")


def test_a_file_that_is_not_parquet_is_told(make_folder: MakeFolder) -> None:
    folder = make_folder()
    (folder / "train.jsonl").rename(folder / "train.parquet")
    message = refusal(folder).message
    assert message.startswith(f"{folder / 'train'}.parquet: cannot be read as parquet")


def test_a_cache_that_cannot_be_written_is_told(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert "cache cannot be written" in refusal(make_folder()).message
