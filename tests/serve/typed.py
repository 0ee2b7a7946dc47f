"""Tasks of the types that the other tests of this room leave out, and rows for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOPICS = tuple(f"topic-{letter}" for letter in "abcdefgh")
CONTEXT = "My order was late \U0001f4e6.\nThe card is in Paris today. " + "Please cancel my phone now. " * 9
"""Longer than the 64 tokens of the tiny backbones; its characters are not those that a browser counts."""

TYPED: Mapping[str, dict[str, Any]] = {
    "topics": {"type": "multilabel", "labels": TOPICS, "threshold": 0.45, "task": {"metric": "micro_f1"}},
    "stars": {"type": "regression", "labels": ("-1.0", "4.0"), "task": {"metric": "spearman"}},
    "alike": {"type": "pair_regression", "labels": ("0.0", "5.0"), "task": {"metric": "pearson"}},
    "pick": {"type": "choice", "labels": ("right",)},
    "roles": {"type": "srl", "labels": ("B-A", "B-V", "I-A", "B-B", "O"), "task": {"metric": "span_f1"}},
    "find": {"type": "qa", "labels": ("start", "end"), "threshold": 0.0, "task": {"metric": "f1", "overlap": 8}},
}
CHALLENGERS = {"find": {**TYPED["find"], "threshold": 1.1}}
"""What differs from the champion in more than its numbers: one that finds no answer sure enough, ever."""

ROWS: Mapping[str, dict[str, Any]] = {
    "topics": {"text": "my laptop is broken today"},
    "stars": {"text": "my laptop is broken today"},
    "alike": {"text_a": "the card was late", "text_b": "a card is late"},
    "pick": {"question": "what is late", "choices": ["the order", "a <i>phone</i>", "the card now"]},
    "roles": {"tokens": ["the", "order", "the", "card", "was", "late"], "predicate": 2},
    "find": {"question": "where is the card", "context": CONTEXT.strip()},
}


def made_of(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `make_artifact` makes the task's ensemble of."""
    return {"name": name, "lengths": (2, 5), "combine": "mean", **settings}
