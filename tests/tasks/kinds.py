"""Rows of every task type: a few, for what must hold of all of them alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.tasks import DataSource, Task, TaskSpec, load_task

_TEXTS = ["the order is late", "a phone was lost today", "cancel my card please", "your laptop is not broken now"]
LONG = "my order was late . " * 12 + "the card is in Paris today . " + "please cancel my phone now . " * 12
"""A context of more tokens than the tiny backbones take, 64."""


def _qa(question: str, context: str, answer: str | None) -> dict[str, Any]:
    found = {"text": [answer], "answer_start": [context.index(answer)]} if answer else {"text": [], "answer_start": []}
    return {"question": question, "context": context, "answers": found}


ROWS: Mapping[str, list[dict[str, Any]]] = {
    "classification": [{"text": text, "label": label} for text, label in zip(_TEXTS, "abab", strict=True)],
    "pair": [
        {"text_a": text, "text_b": "is it late", "label": label} for text, label in zip(_TEXTS, "abab", strict=True)
    ],
    "multilabel": [
        {"text": text, "labels": labels}
        for text, labels in zip(_TEXTS, (["late"], ["lost", "now"], [], ["now"]), strict=True)
    ],
    "regression": [{"text": text, "score": score} for text, score in zip(_TEXTS, (1, 2.5, -3, 4), strict=True)],
    "pair_regression": [
        {"text_a": text, "text_b": "is it late", "score": score}
        for text, score in zip(_TEXTS, (5, 0, 2.5, 1), strict=True)
    ],
    "choice": [
        {"question": "what is late", "choices": ["the order", "a phone"], "label": 0},
        {"question": "what was lost", "choices": ["my card", "your laptop is not", "the phone now"], "label": 2},
        {"question": "when", "choices": ["soon please", "today"], "label": 1},
        {"question": "is it broken", "choices": ["not now", "was the order", "a laptop", "soon"], "label": 3},
    ],
    "token": [
        {"tokens": text.split(), "tags": ["B-X" if word == "phone" else "O" for word in text.split()]}
        for text in _TEXTS
    ],
    "srl": [
        {
            "tokens": text.split(),
            "tags": ["B-V" if n == 1 else "B-A" if n == 0 else "O" for n in range(len(text.split()))],
        }
        | {"predicate": 1}
        for text in _TEXTS
    ],
    "qa": [
        _qa("what is late", "the order is late", "order"),
        _qa("where is the card", LONG, "Paris"),
        _qa("what was lost", LONG, None),
        _qa("when", "my phone was lost today", "today"),
    ],
}
WRITTEN: Mapping[str, list[dict[str, Any]]] = {
    "generation": [
        {"input": "order late", "references": ["the order is late", "my order was late"]},
        {"input": "phone lost", "references": ["a phone was lost"]},
        {"input": "cancel card please", "references": ["please cancel my card now"]},
        {"input": "laptop", "references": ["your laptop is not broken", "my laptop", "a laptop is late"]},
    ],
}
"""Rows of the types that only a backbone which writes takes."""


def write_rows(folder: Path, kind: str) -> Path:
    """The data folder of a type's rows, the same in every split."""
    data = folder / kind
    data.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        (data / f"{split}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in {**ROWS, **WRITTEN}[kind]), encoding="utf-8"
        )
    return data


def task_of(folder: Path, kind: str, **rules: Any) -> Task:
    """A loaded task of a type; made in `folder`, which it may share with others."""
    source = DataSource(path=str(write_rows(folder, kind)))
    return load_task(TaskSpec(kind, kind, source, **rules), folder / "cache")
