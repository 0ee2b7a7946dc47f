"""What can only be checked over all rows of a task: its labels, and whether its tags are sound BIO."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError
from pipeline.tasks.checks import Problems
from pipeline.tasks.readers import RowSource

_CHUNK = re.compile(r"[BI]-.+", re.DOTALL)


@dataclass
class LabelUse:
    """The labels of one split: in how many rows each occurs, and the first rows where BIO is broken."""

    source: RowSource
    rows: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[int]] = field(default_factory=dict)
    broken: list[tuple[int, InputError]] = field(default_factory=list)

    def add(self, number: int, answer: str | list[str]) -> None:
        for label in {answer} if isinstance(answer, str) else set(answer):
            self.rows[label] = self.rows.get(label, 0) + 1
            places = self.first.setdefault(label, [])
            if len(places) < 5:
                places.append(number)
        if isinstance(answer, list):
            mistake = broken_bio(answer)
            if mistake is not None:
                self.broken.append((number, mistake))


def looks_like_bio(labels: Iterable[str]) -> bool:
    """Whether tags mark spans: one of them is `B-…` or `I-…`, or there are no others than B, I and O."""
    tags = set(labels)
    return any(_CHUNK.fullmatch(tag) for tag in tags) or ("B" in tags and tags <= {"B", "I", "O"})


def broken_bio(tags: list[str]) -> InputError | None:
    """The first word at which tags are not BIO: another tag than O, B-X and I-X, or an I-X that continues nothing."""
    before = "O"
    for position, tag in enumerate(tags):
        if tag not in ("O", "B", "I") and not _CHUNK.fullmatch(tag):
            return InputError(
                "malformed BIO: a tag that is not O, B-… or I-…",
                found=f"{tag!r} at word {position + 1}",
                hint="metric: token_accuracy in the task takes tags as they are",
            )
        if tag[0] == "I" and (before == "O" or before[1:] != tag[1:]):
            return InputError(
                "malformed BIO: an I tag that continues no span",
                found=f"{tag!r} after {before!r} at word {position + 1}" if position else f"{tag!r} at the first word",
                expected="B" + tag[1:],
            )
        before = tag
    return None


def check_labels(
    uses: Mapping[str, LabelUse], *, bio: bool, count_unseen: bool, whole: bool, problems: Problems
) -> tuple[tuple[str, ...], list[str]]:
    """The label set of a task (the labels of its train split, sorted) and notes; mistakes go to `problems`."""
    train = uses["train"]
    labels = tuple(sorted(train.rows))
    notes: list[str] = []
    if bio:
        for use in uses.values():
            for number, mistake in use.broken:
                problems.add(use.source, number, mistake)
    if whole and len(labels) == 1:
        only = InputError("every row of train has the same label", found=labels[0], expected="at least two labels")
        problems.add_counted(train.source, train.first[labels[0]][:1], 1, only)
    for split, use in uses.items():
        unseen = {label: use.rows[label] for label in sorted(use.rows) if label not in train.rows}
        if unseen and count_unseen:
            words = _listed(f"{label!r} ({count})" for label, count in unseen.items())
            notes.append(f"labels of {split} that train lacks count as misses, with their rows: {words}")
        elif whole:
            for label, count in unseen.items():
                problems.add_counted(use.source, use.first[label], count, _unseen(split, label, count))
    return labels, notes


def _unseen(split: str, label: str, count: int) -> InputError:
    rows = "1 row" if count == 1 else f"{count} rows"
    return InputError(
        f"label {label!r} is in {rows} of {split} but not in train",
        hint="unseen_labels: count in the task counts such rows as misses",
    )


def _listed(items: Iterable[Any], limit: int = 10) -> str:
    texts = [str(item) for item in items]
    return ", ".join(texts[:limit]) + (f" and {len(texts) - limit} more" if len(texts) > limit else "")
