"""Loading a task: every row checked, written once as memory-mapped Arrow, and named by its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from pipeline.errors import InputError, InputErrors, raise_all
from pipeline.tasks.data.checks import Problems, canonical_row
from pipeline.tasks.data.few_shot import few_shot_rows
from pipeline.tasks.data.labels import LabelUse, check_labels
from pipeline.tasks.data.readers import RowSource
from pipeline.tasks.data.sources import open_sources
from pipeline.tasks.data.table import NoRowsError, write_table
from pipeline.tasks.spec import TaskSpec, check_spec
from pipeline.tasks.types import TASK_TYPES, TaskType


@dataclass(frozen=True)
class Task:
    """A task whose rows have been checked.

    Args:
        spec: what the user wrote.
        labels: what the head's outputs stand for; a class id is a place in it. The labels of the whole train split,
            sorted, or the outputs of the type.
        metric: resolved, never "auto".
        splits: "train", "dev" and "test" under canonical column names, memory-mapped.
        fingerprints: sha256 of the canonical rows in order, per split.
        notes: what the user should know about how the data was read.
    """

    spec: TaskSpec
    labels: tuple[str, ...]
    metric: str
    splits: Mapping[str, datasets.Dataset]
    fingerprints: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> TaskType:
        return TASK_TYPES[self.spec.type]

    def gold(self, split: str) -> list[Any]:
        """The gold answers of a split, row by row: labels, lists of tags, numbers, …"""
        return list(self.splits[split][self.kind.target[0]][:])


def load_task(spec: TaskSpec, cache_dir: Path) -> Task:
    """Reads and checks every row of a task.

    Files in `cache_dir` are named by the rows they hold, so they are never stale; the user's folder is not written to.

    Raises:
        InputError: one mistake in the spec or in the data, or (as InputErrors) several.
    """
    raise_all(check_spec(spec))
    sources, notes = open_sources(spec, cache_dir)
    problems = Problems()
    unreadable: list[InputError] = []
    kind = TASK_TYPES[spec.type]
    splits: dict[str, datasets.Dataset] = {}
    fingerprints: dict[str, str] = {}
    uses: dict[str, LabelUse] = {}
    for source in sources:
        use = uses[source.split] = LabelUse(source)
        try:
            rows = _checked(spec, source, problems, use)
            splits[source.split], fingerprints[source.split] = write_table(rows, kind.columns, cache_dir)
        except NoRowsError:
            if not problems.in_split(source.split):
                unreadable.append(InputError(f"the {source.split} split has no rows", where=source.name))
        except InputErrors as mistakes:
            unreadable += mistakes.problems
        except InputError as mistake:
            unreadable.append(mistake)
    metric = spec.metric if spec.metric != "auto" else kind.metric_for(uses["train"].rows)
    # Of a train split that was not read whole, nobody knows which labels it lacks.
    whole = "train" in splits and not problems.in_split("train")
    labels: tuple[str, ...] = ()
    if kind.outputs is None:
        labels, label_notes = check_labels(
            uses,
            bio=metric == "span_f1",
            several=kind.several,
            count_unseen=spec.unseen_labels == "count",
            whole=whole,
            problems=problems,
        )
        notes += label_notes
    elif whole:
        try:
            labels = kind.outputs_of(splits["train"][kind.target[0]])
        except InputError as mistake:
            unreadable.append(InputError(mistake.what, where=uses["train"].source.name, found=mistake.found))
    raise_all(unreadable + problems.told())
    if spec.data.rows is not None and spec.data.rows < len(splits["train"]):
        train = splits["train"]
        answers = [sorted(kind.labels_of(answer)) for answer in train[kind.target[0]]]
        chosen = few_shot_rows(answers, spec.data.rows, spec.data.seed)
        kept = train.select(chosen).to_list()
        splits["train"], fingerprints["train"] = write_table(kept, kind.columns, cache_dir)
        notes.append(f"{len(kept)} of {len(train)} training rows")
    return Task(spec, labels, metric, splits, fingerprints, tuple(notes))


def _checked(spec: TaskSpec, source: RowSource, problems: Problems, use: LabelUse) -> Iterator[dict[str, Any]]:
    kind = TASK_TYPES[spec.type]
    for number, raw in source.read():
        row = raw if isinstance(raw, InputError) else canonical_row(spec, raw)
        if isinstance(row, InputError):
            problems.add(source, number, row)
        else:
            if kind.outputs is None:
                use.add(number, row[kind.target[0]])
            yield row
