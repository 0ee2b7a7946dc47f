"""Every task type: rows are checked, encoded, kept and given back; wrong rows get one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kinds import ROWS, WRITTEN, task_of
from transformers import PreTrainedTokenizerBase

from pipeline.errors import InputError
from pipeline.tasks import TASK_TYPES, DataSource, PreparedTask, Reading, TaskSpec, load_task, prepare_task
from pipeline.training.evaluation.judging import SplitRows


def prepared(folder: Path, kind: str, tokenizer: PreTrainedTokenizerBase, context: int | None = 512) -> PreparedTask:
    return prepare_task(task_of(folder, kind), tokenizer, context=context, cache_dir=folder / "cache")


def sure(task: PreparedTask, split: str = "test") -> torch.Tensor:
    """[A, C] probabilities of one who knows all answers and doubts none."""
    gold = task.right(split)
    if gold.targets is None:
        return torch.nn.functional.one_hot(gold.labels, len(task.labels)).float()
    return gold.targets


def test_every_type_has_rows_here() -> None:
    assert {*ROWS, *WRITTEN} == set(TASK_TYPES)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("context", [512, 40])
def test_who_answers_as_the_gold_scores_one(
    kind: str, context: int, minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """Encoding loses nothing that the answer needs, and reading gives it back, windows included."""
    task = prepared(tmp_path, kind, minilm, context)
    verdict = SplitRows(task, "test").judge(sure(task))
    assert verdict.score == pytest.approx(1.0)
    assert verdict.metric in task.kind.metrics and set(verdict.figures) >= {task.metric}
    if kind == "regression":
        assert SplitRows(task, "test").read(sure(task)) == pytest.approx([1, 2.5, -3, 4], abs=1e-5)


@pytest.mark.parametrize("kind", ROWS)
def test_saved_and_loaded_is_the_same(kind: str, minilm: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    task = prepared(tmp_path, kind, minilm, 40)
    task.save(tmp_path / "saved")
    loaded = PreparedTask.load(tmp_path / "saved")
    for name in ("name", "type", "labels", "metric", "pooling", "rules", "fingerprints"):
        assert getattr(loaded, name) == getattr(task, name)
    for split in ("train", "dev", "test"):
        rows = range(len(ROWS[kind]))
        assert loaded.encoded[split].take(rows) == task.encoded[split].take(rows)
        assert loaded.gold(split) == task.gold(split) and loaded.shown(split) == task.shown(split)
        assert loaded.marks(split) == task.marks(split)
        np.testing.assert_array_equal(loaded.encoded[split].starts, task.encoded[split].starts)


@pytest.mark.parametrize("kind", ROWS)
def test_rows_to_be_answered_need_no_answer(kind: str) -> None:
    """The example of the type is a row that `predict` takes."""
    from pipeline.tasks.data.checks import canonical_row

    type_ = TASK_TYPES[kind]
    asked = {column: type_.asked(column, type_.example.get(column), type_.example) for column in type_.inputs}
    row = canonical_row(TaskSpec("t", kind, DataSource()), {**asked, type_.target[0]: type_.unknown(asked)})
    assert isinstance(row, dict) and set(row) == set(type_.columns)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("multilabel", {"labels": "late"}, "'labels' is not a list"),
        ("multilabel", {"labels": ["late", None]}, "'labels' has no label"),
        ("regression", {"score": "high"}, "'score' is not a number; found 'high'"),
        ("regression", {"score": float("nan")}, "'score' is not a number"),
        ("choice", {"label": 2}, "the label is none of the choices; found 2; expected 0 to 1"),
        ("choice", {"label": "first"}, "'label' is not a place"),
        ("choice", {"choices": ["the order"]}, "'choices' leaves no choice"),
        ("choice", {"choices": ["the order", " "]}, "'choices' is empty; found ' ' at choice 1"),
        ("srl", {"predicate": 4}, "the predicate is not a word of the sentence; found 4; expected 0 to 3"),
        ("srl", {"tags": ["O"]}, "tokens and tags differ in length"),
        ("qa", {"answers": ["order"]}, "'answers' does not hold answers"),
        ("qa", {"answers": {"text": ["order"], "answer_start": []}}, "text and answer_start do not fit"),
        (
            "qa",
            {"answers": {"text": ["order"], "answer_start": [3]}},
            "not what stands in the context at answer_start; found 'order' at 3; expected ' orde'",
        ),
    ],
)
def test_a_wrong_row_is_told_with_its_line(kind: str, change: dict[str, Any], said: str, tmp_path: Path) -> None:
    task_of(tmp_path, kind)
    rows = [{**ROWS[kind][0], **change}, *ROWS[kind][1:]]
    (tmp_path / kind / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(InputError) as told:
        load_task(TaskSpec("t", kind, DataSource(path=str(tmp_path / kind))), tmp_path / "cache")
    assert told.value.message.startswith(f"{tmp_path / kind / 'dev.jsonl'}:1: ") and said in told.value.message


def test_lists_and_objects_may_be_json_in_csv(tmp_path: Path) -> None:
    (tmp_path / "choice").mkdir()
    line = '"what is late","[""the order"", ""a phone""]",0\n'
    for split in ("train", "dev", "test"):
        (tmp_path / "choice" / f"{split}.csv").write_text("question,choices,label\n" + line, encoding="utf-8")
    task = load_task(TaskSpec("t", "choice", DataSource(path=str(tmp_path / "choice"))), tmp_path / "cache")
    assert task.splits["train"][0] == {"question": "what is late", "choices": ["the order", "a phone"], "label": 0}


def test_a_train_split_that_teaches_nothing(tmp_path: Path) -> None:
    for kind, change, said in (
        ("regression", {"score": 2}, "every row of train has the same number"),
        ("multilabel", {"labels": []}, "no row of train has a label"),
    ):
        task_of(tmp_path, kind)
        rows = [json.dumps({**row, **change}) for row in ROWS[kind]]
        for split in ("train", "dev", "test"):
            (tmp_path / kind / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
        with pytest.raises(InputError, match=said):
            load_task(TaskSpec("t", kind, DataSource(path=str(tmp_path / kind))), tmp_path / "cache")


def test_pooling_belongs_to_types_that_answer_a_text_as_a_whole(tmp_path: Path) -> None:
    assert task_of(tmp_path, "choice", pooling="first").spec.pooling == "first"
    with pytest.raises(InputError, match="pooling goes with types that answer a text as a whole, not with qa"):
        task_of(tmp_path, "qa", pooling="first")


def test_only_two_texts_that_stand_side_by_side_are_read_as_a_pair(
    minilm: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    said = "pooling pair reads two texts that stand side by side; found {}; expected a type of two texts"
    for kind in ("classification", "choice"):
        with pytest.raises(InputError, match=said.format(f"type {kind}")):
            task_of(tmp_path, kind, pooling="pair")
    with pytest.raises(InputError, match=said.format("a template for its pair rows")):
        task_of(tmp_path, "pair", pooling="pair", template="{text_a} {text_b} {2}")
    assert prepared(tmp_path, "pair", minilm).head("pair").parts == 4
    for kind in ("classification", "choice", "regression"):  # where a run reads pairs so, other rows by their mean
        assert (head := prepared(tmp_path, kind, minilm).head("pair")).pooling == "mean" and head.parts == 1


def test_a_tasks_pooling_goes_before_the_runs(minilm: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    own = prepare_task(task_of(tmp_path, "choice", pooling="first"), minilm, context=40, cache_dir=tmp_path)
    assert (own.head("mean").pooling, own.head("mean").reads) == ("first", "first")
    other = prepared(tmp_path, "pair", minilm)
    assert (other.head("last").pooling, other.head("mean").reads) == ("last", "all")
    assert prepared(tmp_path, "qa", minilm).head("first").reads == "all"


def test_the_predicate_is_marked_and_markers_answer_nothing(minilm: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    task = prepared(tmp_path, "srl", minilm)
    ((row,),) = task.encoded["dev"].take([1])
    read = minilm.convert_ids_to_tokens(row["input_ids"])
    assert read == ["[CLS]", "phone", "[SEP]", "a", "*", "phone", "*", "was", "lost", "today", "[SEP]"]
    assert [read[position] for position in row["answer"]] == ROWS["srl"][1]["tokens"]
    assert row["words"] == [0, 1, 2, 3, 4]


def test_a_repeated_predicate_word_is_told_apart(minilm: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    encoder_rows = [TASK_TYPES["srl"].encode(_encoder(minilm), _chunk(predicate)) for predicate in (0, 2)]
    (((one,),), ((other,),)) = encoder_rows
    assert one["input_ids"] != other["input_ids"] and one["words"] == other["words"] == [0, 1, 2]


def _chunk(predicate: int) -> dict[str, list[Any]]:
    return {"tokens": [["was", "it", "was"]], "tags": [["O", "O", "O"]], "predicate": [predicate]}


def _encoder(tokenizer: PreTrainedTokenizerBase) -> Any:
    from pipeline.tasks.encoding.encoder import Encoder

    return Encoder(tokenizer, ("O",), None, 0, words=True)


def test_the_threshold_of_label_sets_is_the_best_of_these_rows() -> None:
    """a at 0.4 right, b at 0.3 wrong: any threshold between them is right; the one nearest to a half is taken."""
    kind = TASK_TYPES["multilabel"]
    readings = [Reading(torch.tensor([[0.42, 0.28]]), {"words": [0]}, {})]
    assert kind.choose_threshold(readings, [["a"]], ("a", "b"), "micro_f1") == 0.4
    assert kind.read(readings[0], ("a", "b"), "micro_f1", 0.4) == ["a"]
