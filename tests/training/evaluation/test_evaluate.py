"""Answers of many members on a whole split: the same as one member and one row at a time."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch

from pipeline.tasks import DataSource, TaskSpec, load_task, prepare_task
from pipeline.training.candidates import Candidate, Trained
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.judging import SplitRows


def random_trained(info, labels, count):
    draw = torch.Generator().manual_seed(5)
    return [
        Trained(
            Candidate("scratch", places, 0, 1e-2, places),
            0.0,
            0.0,
            1,
            (),
            torch.randn(info.layers, 2, info.heads, places, info.head_size, generator=draw),
            torch.randn(labels, info.width, generator=draw),
            torch.randn(labels, generator=draw),
        )
        for places in range(1, count + 1)
    ]


@pytest.mark.parametrize(("family", "name"), [("bert", "intent"), ("llama", "slots"), ("gpt2", "same_issue")])
def test_members_together_answer_as_each_alone(family, name, backbone, prepared):
    model, task = backbone(family), prepared(name, family)
    members = random_trained(model.info, len(task.labels), 3)
    pooling = "mean" if family == "bert" else "last"
    together = answer_together(model, task, "dev", members, pooling=pooling)
    for k, member in enumerate(members):
        alone = answer_together(model, task, "dev", [member], pooling=pooling, rows_per_batch=7)
        assert torch.allclose(together.logits[k], alone.logits[0], atol=1e-4, rtol=1e-4)
    assert together.logits.shape == (3, len(task.label_ids("dev")), len(task.labels))


def test_perfect_answers_score_one(prepared):
    for name in ("intent", "slots"):
        task = prepared(name, "minilm")  # whose tokenizer cuts no row
        sure = torch.nn.functional.one_hot(torch.from_numpy(task.label_ids("test")), len(task.labels)).float()
        rows = SplitRows(task, "test")
        assert rows.read(sure) == task.gold("test")
        assert rows.judge(sure).score == 1.0


def test_a_label_that_train_lacks_counts_as_a_miss(backbone, tmp_path):
    rows = {"train": ["a", "b", "a"], "dev": ["a", "c"], "test": ["c", "b", "b", "b"]}
    for split, labels in rows.items():
        lines = [f'{{"text": "my order is late", "label": "{label}"}}' for label in labels]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    spec = TaskSpec("t", "classification", DataSource(path=str(tmp_path)), unseen_labels="count")
    model = backbone("bert")
    task = prepare_task(load_task(spec, Path(mkdtemp())), model.tokenizer, context=64, cache_dir=Path(mkdtemp()))
    assert task.labels == ("a", "b") and task.label_ids("test").tolist() == [-100, 1, 1, 1]
    always_b = torch.tensor([[0.0, 1.0]] * 4)
    assert SplitRows(task, "test").judge(always_b).figures["accuracy"] == 0.75
