"""What can only be checked over all rows of a task: its labels, and whether its tags are sound BIO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError
from pipeline.tasks.data.checks import Problems
from pipeline.tasks.data.readers import RowSource
from pipeline.tasks.types.bio import broken_bio


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


def check_labels(
    uses: Mapping[str, LabelUse], *, bio: bool, several: bool, count_unseen: bool, whole: bool, problems: Problems
) -> tuple[tuple[str, ...], list[str]]:
    """The label set of a task (the labels of its train split, sorted) and notes; mistakes go to `problems`.

    Args:
        bio: whether tags must be sound. several: whether a row may have several labels or none.
        count_unseen: whether a label that train lacks is a miss and not a mistake. whole: whether train was read whole.
    """
    train = uses["train"]
    labels = tuple(sorted(train.rows))
    notes: list[str] = []
    if bio:
        for use in uses.values():
            for number, mistake in use.broken:
                problems.add(use.source, number, mistake)
    if whole and several and not labels:
        problems.add_counted(train.source, [1], 1, InputError("no row of train has a label"))
    if whole and len(labels) == 1 and not several:
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
