from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from task_folders import TEXTS, MakeFolder, jsonl

from pipeline.errors import InputError, InputErrors
from pipeline.tasks import DataSource, Task, TaskSpec, load_task

PAIRS = [
    {"text_a": "NA", "text_b": 'a "quoted", long\nline', "label": "null"},
    {"text_a": "[1]", "text_b": "ünïcode 🙂", "label": "01"},
] * 3
TAGGED = [{"tokens": ["Ann", "ran", '"'], "tags": ["B-PER", "O", "O"]}, {"tokens": ["."], "tags": ["O"]}]


def load(spec: TaskSpec, tmp_path: Path) -> Task:
    return load_task(spec, tmp_path / "cache")


def test_a_missing_folder_is_told_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "snips_intent").mkdir()
    (tmp_path / "boolq").mkdir()
    wrong = tmp_path / "snip_intent" / "deeper"
    with pytest.raises(InputError) as caught:
        load(TaskSpec("t", "pair", DataSource(path=str(wrong))), tmp_path)
    assert caught.value.nearest == "snips_intent"
    assert "boolq" in caught.value.message


def test_a_file_is_no_folder(make_folder: MakeFolder, tmp_path: Path) -> None:
    path = make_folder() / "train.jsonl"
    with pytest.raises(InputError, match="found a file"):
        load(TaskSpec("t", "classification", DataSource(path=str(path))), tmp_path)


def test_missing_splits_are_told_together_with_the_nearest_file(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder()
    (folder / "dev.jsonl").rename(folder / "devel.jsonl")
    (folder / "test.jsonl").unlink()
    with pytest.raises(InputErrors) as caught:
        load(TaskSpec("t", "classification", DataSource(path=str(folder))), tmp_path)
    dev, test = caught.value.problems
    assert dev.what == "no dev split" and dev.nearest == "devel.jsonl" and "train.jsonl" in str(dev.found)
    assert test.what == "no test split" and test.nearest is None


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_the_dev_split_has_other_names(make_folder: MakeFolder, tmp_path: Path, name: str) -> None:
    folder = make_folder()
    (folder / "dev.jsonl").rename(folder / f"{name}.jsonl")
    assert len(load(TaskSpec("t", "classification", DataSource(path=str(folder))), tmp_path).splits["dev"]) == 2


def test_two_files_for_one_split_are_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder()
    (folder / "valid.jsonl").write_bytes(jsonl(TEXTS))
    with pytest.raises(InputError, match=r"more than one dev split.*dev.jsonl and valid.jsonl"):
        load(TaskSpec("t", "classification", DataSource(path=str(folder))), tmp_path)


@pytest.mark.parametrize(("kind", "rows"), [("pair", PAIRS), ("token", TAGGED)])
def test_csv_and_parquet_read_as_jsonl_does(
    make_folder: MakeFolder, tmp_path: Path, kind: str, rows: list[dict[str, object]]
) -> None:
    folder = make_folder(rows, rows, rows)
    lists_as_json = [
        {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()} for row in rows
    ]
    for suffix in ("csv", "parquet"):
        other = tmp_path / suffix
        other.mkdir()
        for split in ("train", "dev", "test"):
            if suffix == "csv":
                datasets.Dataset.from_list(lists_as_json).to_pandas().to_csv(other / f"{split}.csv", index=False)
            else:
                datasets.Dataset.from_list(rows).to_parquet(other / f"{split}.parquet")
    tasks = [
        load(TaskSpec("t", kind, DataSource(path=str(path))), tmp_path)
        for path in (folder, tmp_path / "csv", tmp_path / "parquet")
    ]
    assert tasks[0].fingerprints == tasks[1].fingerprints == tasks[2].fingerprints
    assert tasks[0].splits["train"].to_list() == tasks[1].splits["train"].to_list() == rows


def test_columns_map_and_labels_become_text(make_folder: MakeFolder, tmp_path: Path) -> None:
    theirs = [{"q": "is it", "p": "yes", "answer": True, "more": 1}, {"q": "is it", "p": "no", "answer": False}]
    ours = [
        {"text_a": "is it", "text_b": "yes", "label": "true"},
        {"text_a": "is it", "text_b": "no", "label": "false"},
    ]
    spec = TaskSpec(
        "t",
        "pair",
        DataSource(path=str(make_folder(theirs, theirs, theirs))),
        columns={"text_a": "q", "text_b": "p", "label": "answer"},
    )
    task = load(spec, tmp_path)
    assert task.splits["test"].to_list() == ours
    assert task.labels == ("false", "true")
    numbers = make_folder(*[[{"text": "a", "label": 10}, {"text": "b", "label": 2}]] * 3, name="numbers")
    assert load(TaskSpec("t", "classification", DataSource(path=str(numbers))), tmp_path).labels == ("10", "2")


def hub_folder(folder: Path, **splits: list[dict[str, object]]) -> Path:
    folder.mkdir()
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_bytes(jsonl(rows))
    return folder


def test_a_hub_dataset_reads_as_the_folder_does(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder(TAGGED, TAGGED, TAGGED)
    local = load(TaskSpec("t", "token", DataSource(path=str(folder))), tmp_path)
    hub = load(TaskSpec("t", "token", DataSource(hub=str(folder))), tmp_path)
    assert hub.fingerprints == local.fingerprints
    assert hub.notes == ()


def test_a_hub_dataset_without_test_gives_its_validation_split(tmp_path: Path) -> None:
    train: list[dict[str, object]] = [{"text": f"row {n}", "label": n % 2} for n in range(50)]
    folder = hub_folder(tmp_path / "hub", train=train, validation=train[:10])
    task = load(TaskSpec("t", "classification", DataSource(hub=str(folder))), tmp_path)
    assert [len(task.splits[split]) for split in ("train", "dev", "test")] == [45, 5, 10]
    assert not {*task.splits["train"]["text"]} & {*task.splits["dev"]["text"]}
    assert task.splits["test"]["text"][:] == [row["text"] for row in train[:10]]
    assert len(task.notes) == 2


def test_hidden_test_labels_are_not_labels(tmp_path: Path) -> None:
    train: list[dict[str, object]] = [{"text": f"row {n}", "label": n % 2} for n in range(50)]
    hidden: list[dict[str, object]] = [{"text": "secret", "label": -1}]
    folder = hub_folder(tmp_path / "hub", train=train, validation=train[:10], test=hidden)
    task = load(TaskSpec("t", "classification", DataSource(hub=str(folder))), tmp_path)
    assert len(task.splits["test"]) == 10
    assert "no labels" in task.notes[0]


def test_hub_label_numbers_become_names(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["ham", "spam"])
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-X"]))
    table = datasets.Dataset.from_dict(
        {"text": ["a", "b"], "label": [0, 1], "tokens": [["a", "b"]] * 2, "tags": [[0, 1]] * 2},
        features=datasets.Features(
            {
                "text": datasets.Value("string"),
                "label": names,
                "tokens": datasets.List(datasets.Value("string")),
                "tags": tags,
            }
        ),
    )
    folder = tmp_path / "hub"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        table.to_parquet(folder / f"{split}.parquet")
    sentences = load(TaskSpec("t", "classification", DataSource(hub=str(folder))), tmp_path)
    words = load(TaskSpec("t", "token", DataSource(hub=str(folder))), tmp_path)
    assert sentences.labels == ("ham", "spam")
    assert words.splits["dev"]["tags"][0] == ["O", "B-X"]


def test_hub_mistakes_are_told(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "a", "label": "x"}, {"text": "", "label": "y"}]
    folder = hub_folder(tmp_path / "hub", train=rows, validation=rows[:1], test=rows[:1])
    with pytest.raises(InputError) as caught:
        load(TaskSpec("t", "classification", DataSource(hub=str(folder))), tmp_path)
    assert caught.value.message.startswith(f"hub {folder}, train row 2: 'text' is empty")
    with pytest.raises(InputError, match=r"no column 'txt'.*found text, label.*did you mean 'text'"):
        load(TaskSpec("t", "classification", DataSource(hub=str(folder)), columns={"text": "txt"}), tmp_path)
    with pytest.raises(InputError, match="cannot be loaded"):
        load(TaskSpec("t", "classification", DataSource(hub=str(folder), subset="no_such")), tmp_path)
    with pytest.raises(InputError, match="cannot be loaded"):
        load(TaskSpec("t", "classification", DataSource(hub=str(tmp_path / "nowhere"))), tmp_path)


def test_an_unknown_demo_task_is_told(tmp_path: Path) -> None:
    from pipeline.tasks.demo import DEMO_TASKS

    name = next(iter(DEMO_TASKS))
    with pytest.raises(InputError, match="no such demo task") as caught:
        load(TaskSpec("t", "pair", DataSource(demo=name + "x")), tmp_path)
    assert caught.value.nearest == name
