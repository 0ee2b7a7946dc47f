from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_folders import TEXTS, MakeFolder

from pipeline.errors import InputError
from pipeline.tasks import DataSource, TaskSpec, load_task
from pipeline.tasks.data.few_shot import few_shot_rows

# Task folders under ../shared/datasets, with the type, the number of labels and the metric that each must give.
QUICK = [
    ("cr", "classification", 2, "accuracy"),
    ("sms_spam", "classification", 2, "accuracy"),
    ("snli", "pair", 3, "accuracy"),
    ("wikigold", "token", 9, "span_f1"),
    ("wnut17", "token", 13, "span_f1"),
    ("ewt_pos", "token", 17, "token_accuracy"),
]


@pytest.mark.parametrize(("name", "kind", "labels", "metric"), QUICK)
def test_shared_datasets_load_unchanged(
    shared: Path, tmp_path: Path, name: str, kind: str, labels: int, metric: str
) -> None:
    folder = shared / "datasets" / name
    task = load_task(TaskSpec(name, kind, DataSource(path=str(folder))), tmp_path)
    assert (len(task.labels), task.metric) == (labels, metric)
    for split, rows in task.splits.items():
        assert len(rows) == len((folder / f"{split}.jsonl").read_bytes().splitlines())
        assert rows.cache_files, "rows must be memory-mapped"


def test_unseen_tags_of_a_real_set_count_as_misses(shared: Path, tmp_path: Path) -> None:
    source = DataSource(path=str(shared / "datasets" / "ewt_srl"))
    task = load_task(TaskSpec("srl", "token", source, unseen_labels="count"), tmp_path)
    assert "B-ARGA" not in task.labels
    assert any("'B-ARGA' (2)" in note for note in task.notes)
    with pytest.raises(InputError) as caught:
        load_task(TaskSpec("srl", "token", source), tmp_path)
    assert "label 'B-ARGA' is in 2 rows of test but not in train" in caught.value.message


def test_the_fingerprint_is_of_rows_and_their_order(make_folder: MakeFolder, tmp_path: Path) -> None:
    def fingerprint(rows: list[dict[str, Any]], name: str) -> str:
        folder = make_folder(rows, name=name)
        return load_task(TaskSpec("t", "classification", DataSource(path=str(folder))), tmp_path).fingerprints["train"]

    first = fingerprint(TEXTS, "first")
    assert first == fingerprint([{**row, "unused": 1} for row in TEXTS], "more columns")
    assert first != fingerprint(TEXTS[::-1], "other order")
    assert first != fingerprint([{**TEXTS[0], "text": "good  food"}, TEXTS[1]], "other text")
    assert len(first) == 64


def test_nothing_is_written_beside_the_data(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder()
    before = sorted(folder.iterdir())
    load_task(TaskSpec("t", "classification", DataSource(path=str(folder))), tmp_path / "cache")
    assert sorted(folder.iterdir()) == before
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_changed_data_is_read_anew(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder()
    spec = TaskSpec("t", "classification", DataSource(path=str(folder)))
    before = load_task(spec, tmp_path / "cache")
    path = folder / "train.jsonl"
    path.write_text(path.read_text().replace("good", "fine"))
    after = load_task(spec, tmp_path / "cache")
    assert before.splits["train"]["text"][0] == "good food"
    assert after.splits["train"]["text"][0] == "fine food"
    assert before.fingerprints["dev"] == after.fingerprints["dev"]


def test_gold_answers_follow_the_rows(make_folder: MakeFolder, tmp_path: Path) -> None:
    task = load_task(TaskSpec("t", "classification", DataSource(path=str(make_folder()))), tmp_path / "cache")
    assert task.gold("dev") == ["yes", "no"]


def test_few_shot_caps_train_alone_and_keeps_the_label_set(make_folder: MakeFolder, tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": "rare" if n == 77 else str(n % 3)} for n in range(100)]
    folder = str(make_folder(rows, rows, rows))
    whole = load_task(TaskSpec("t", "classification", DataSource(path=folder)), tmp_path / "cache")
    few = load_task(TaskSpec("t", "classification", DataSource(path=folder, rows=8)), tmp_path / "cache")
    again = load_task(TaskSpec("t", "classification", DataSource(path=folder, rows=8)), tmp_path / "cache")
    other = load_task(TaskSpec("t", "classification", DataSource(path=folder, rows=8, seed=1)), tmp_path / "cache")
    assert [len(few.splits[split]) for split in ("train", "dev", "test")] == [8, 100, 100]
    assert few.labels == whole.labels == ("0", "1", "2", "rare")
    assert set(few.gold("train")) == set(whole.labels)
    assert few.fingerprints == again.fingerprints
    assert few.fingerprints["train"] not in (whole.fingerprints["train"], other.fingerprints["train"])
    assert few.fingerprints["test"] == whole.fingerprints["test"]
    larger = load_task(TaskSpec("t", "classification", DataSource(path=folder, rows=1000)), tmp_path / "cache")
    assert larger.fingerprints == whole.fingerprints


LABELS = st.sampled_from("abcde")


@given(
    st.lists(LABELS, min_size=1, max_size=60) | st.lists(st.lists(LABELS, min_size=1, max_size=4), min_size=1),
    st.data(),
)
def test_few_shot_rows_cover_every_label_that_fits(answers: list[Any], data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, len(answers)))
    seed = data.draw(st.integers(0, 5))
    chosen = few_shot_rows(answers, rows, seed)
    assert len(set(chosen)) == len(chosen) == rows
    assert chosen == sorted(chosen)
    every = {label for answer in answers for label in answer}
    kept = {label for index in chosen for label in answers[index]}
    if rows >= len(every):
        assert kept == every
    assert set(chosen) <= set(few_shot_rows(answers, min(rows + 1, len(answers)), seed))


def test_demo_rows_load(tmp_path: Path) -> None:
    from pipeline.tasks.demo import DEMO_TASKS, demo_rows

    name = next(iter(DEMO_TASKS))
    kinds = {"text": "classification", "text_a": "pair", "tokens": "token"}
    first = demo_rows(name, "train")[0]
    kind = next(kinds[column] for column in kinds if column in first)
    task = load_task(TaskSpec("t", kind, DataSource(demo=name)), tmp_path)
    assert len(task.splits["dev"]) == len(demo_rows(name, "dev"))
