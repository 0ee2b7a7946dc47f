"""The demo suite: eleven tasks of one help desk, generated with a seed, nothing downloaded.

Eight are sources for pretraining. Three are few-shot targets with other labels, built from the same turns of phrase:
what a shared prompt learned on the sources is what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from zlib import crc32

from pipeline.errors import InputError, nearest
from pipeline.tasks.demo import classification, pairs, tagging
from pipeline.tasks.demo.cases import callback, escalation
from pipeline.tasks.demo.grammar import Row, Voice
from pipeline.tasks.demo.words import AREAS, DEADLINES, INTENTS, WORDS
from pipeline.tasks.spec import SPLITS

# A sentence belongs to one split by its own checksum: 0 and 1 train, 2 dev, 3 test. So no sentence crosses splits, in
# any task and under any seed, and no split need be generated to make another.
_OWNERS = ("train", "train", "dev", "test")


@dataclass(frozen=True)
class DemoTask:
    """One task of the suite.

    Args:
        name: what `demo_rows` and a config's `data.demo` call it.
        type: classification, pair or token.
        description: what is asked, in one sentence.
        sizes: rows per split.
        few_shot: the number of train rows of a held-out target task; None for a source task.
    """

    name: str
    type: str
    description: str
    sizes: Mapping[str, int]
    few_shot: int | None = None


@dataclass(frozen=True)
class _Recipe:
    """How rows are made: `make` is called with each of `kinds` (labels, or sorts of sentence) in turn."""

    kinds: Sequence[str]
    make: Callable[[Voice, str], Row]


_YES_NO = ("yes", "no")
_KINDS = ("plain", "corrected", "corrected")

_RECIPES: dict[str, _Recipe] = {
    "intent": _Recipe(tuple(INTENTS), classification.intent),
    "sentiment": _Recipe(("positive", "negative", "neutral"), classification.sentiment),
    "urgency": _Recipe(tuple(DEADLINES), classification.urgency),
    "topic": _Recipe(tuple(AREAS), classification.topic),
    "answers": _Recipe(_YES_NO, pairs.answers),
    "same_issue": _Recipe(_YES_NO, pairs.same_issue),
    "slots": _Recipe(_KINDS, tagging.slots),
    "orders": _Recipe(_KINDS, tagging.orders),
    "escalation": _Recipe(("self_service", "agent", "specialist", "manager"), escalation),
    "callback": _Recipe(("call", "mail", "none"), callback),
    "contacts": _Recipe(_KINDS, tagging.contacts),
}


def _task(name: str, kind: str, description: str, train: int, *, few_shot: bool = False) -> DemoTask:
    sizes = {"train": train, "dev": 128 if few_shot else 200, "test": 300}
    return DemoTask(name, kind, description, sizes, train if few_shot else None)


DEMO_TASKS: dict[str, DemoTask] = {
    task.name: task
    for task in (
        _task("intent", "classification", "What does the customer want now?", 900),
        _task("sentiment", "classification", "Is the writer pleased, displeased or neither?", 750),
        _task("urgency", "classification", "Is the answer needed within a day, within a week or later?", 750),
        _task("topic", "classification", "Which product area is the ticket about?", 840),
        _task("answers", "pair", "Does the reply answer the request?", 1000),
        _task("same_issue", "pair", "Do two tickets report the same fault of the same device?", 1000),
        _task("slots", "token", "Product, place, date and amount that hold for a delivery.", 600),
        _task("orders", "token", "Quantity, item, colour and order number that hold for an order.", 600),
        _task("escalation", "classification", "Who must take the case?", 32, few_shot=True),
        _task("callback", "classification", "How is the case answered?", 128, few_shot=True),
        _task("contacts", "token", "Person, telephone, hour and site that hold for a call.", 128, few_shot=True),
    )
}


def demo_rows(name: str, split: str, *, seed: int = 0) -> list[Row]:
    """The rows of one split: `text,label`, `text_a,text_b,label` or `tokens,tags`, the same on every machine.

    Raises:
        InputError: no such task or split.
    """
    if name not in DEMO_TASKS:
        raise InputError(
            "no such demo task", found=name, expected=sorted(DEMO_TASKS), nearest=nearest(name, DEMO_TASKS)
        )
    if split not in SPLITS:
        raise InputError("no such split", found=split, expected=list(SPLITS), nearest=nearest(split, SPLITS))
    recipe = _RECIPES[name]
    rng = Random(f"{seed}:{name}:{split}")
    voice = Voice(rng, WORDS, split)
    rows: list[Row] = []
    seen: set[tuple[str, ...]] = set()
    while len(rows) < DEMO_TASKS[name].sizes[split]:
        voice.begin()
        row = recipe.make(voice, recipe.kinds[len(rows) % len(recipe.kinds)])
        sentences = _sentences(row)
        if sentences not in seen and all(_owner(sentence) == split for sentence in sentences):
            seen.add(sentences)
            rows.append(row)
    rng.shuffle(rows)
    return rows


def _sentences(row: Row) -> tuple[str, ...]:
    tokens = row.get("tokens")
    if isinstance(tokens, list):
        return (" ".join(tokens),)
    return tuple(str(row[column]) for column in ("text", "text_a", "text_b") if column in row)


def _owner(sentence: str) -> str:
    return _OWNERS[crc32(sentence.encode()) % len(_OWNERS)]
