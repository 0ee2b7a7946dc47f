"""The rows of a hub dataset, through the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.tasks.data.cells import INDEX
from pipeline.tasks.data.readers import Numbered, RowSource
from pipeline.tasks.spec import SPLIT_NAMES, DataSource, TaskSpec
from pipeline.tasks.types import TASK_TYPES

_HELD_OUT = 1000  # rows of train that become dev where the hub has too few splits, at most; else a tenth


def hub_sources(spec: TaskSpec, cache_dir: Path) -> tuple[list[RowSource], list[str]]:
    """The train, dev and test rows of a hub dataset, and notes on where they come from.

    Choices are made on dev and test is scored once, so both are needed. Where the hub has only one labelled split
    besides train, that one is test, and dev is held out of train.

    Raises:
        InputError: the dataset cannot be loaded or has too few splits.
    """
    loaded = _load_dataset(spec.data, cache_dir)
    target, _ = TASK_TYPES[spec.type].target
    label = spec.columns.get(target, target)
    found = {key: next((loaded[name] for name in names if name in loaded), None) for key, names in SPLIT_NAMES.items()}
    train, dev, test = found["train"], found["dev"], found["test"]
    notes: list[str] = []
    if dev is not None and test is not None and _hidden(test, label):
        notes.append("the hub's test split has no labels and is not used")
        test = None
    if train is None or (dev is None and test is None):
        raise InputError(
            "a hub dataset needs a train split and a validation or a test split",
            where=f"hub {spec.data.hub}",
            found=", ".join(loaded),
        )
    if dev is not None and test is not None:
        chosen = [(table, np.arange(len(table))) for table in (train, dev, test)]
    else:
        kept, held = _hold_out(len(train))
        notes.append(f"dev is {len(held)} rows held out of the hub's train split")
        if dev is not None:
            notes.append("test is the hub's validation split")
            test = dev
        assert test is not None
        chosen = [(train, kept), (train, held), (test, np.arange(len(test)))]
    return [_source(spec, split, *rows) for split, rows in zip(SPLIT_NAMES, chosen, strict=True)], notes


def _load_dataset(data: DataSource, cache_dir: Path) -> Mapping[str, datasets.Dataset]:
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(
            str(data.hub), data.subset, revision=data.revision, cache_dir=str(cache_dir / "hub")
        )
    except Exception as error:  # the hub, the network and every dataset fail in classes of their own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"the dataset cannot be loaded: {reason}",
            where=f"hub {data.hub}",
            found=data.subset,
            hint="data.subset chooses among the configurations of a dataset" if data.subset is None else None,
        ) from error
    return dict(loaded)


def _hold_out(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows of train stay and which become dev: the same in every run, whatever its seed, so that runs compare."""
    order = np.random.default_rng(0).permutation(rows)
    held = min(_HELD_OUT, max(1, rows // 10))
    return np.sort(order[held:]), np.sort(order[:held])


def _hidden(test: datasets.Dataset, label: str) -> bool:
    """Whether a test split keeps its labels to itself, as benchmarks do: every one -1 or null."""
    if label not in test.column_names or not isinstance(test.features[label], datasets.Value | datasets.ClassLabel):
        return False
    return set(test.data.column(label).unique().to_pylist()) <= {-1, None}


def _source(spec: TaskSpec, split: str, table: datasets.Dataset, indices: NDArray[np.int64]) -> RowSource:
    cells = {spec.columns.get(column, column): cell for column, cell in TASK_TYPES[spec.type].columns.items()}
    wanted = list(cells)
    # Only the columns that the task needs are read; all of them where one is missing, so that the error can list them.
    table = table.select_columns(wanted) if set(wanted) <= set(table.column_names) else table
    # A column that holds a place among the row's choices stays a number, whatever the hub calls the places.
    names = {c: None if cells.get(c) is INDEX else _class_names(feature) for c, feature in table.features.items()}

    def read() -> Iterator[Numbered]:
        for start in range(0, len(indices), 1000):
            chosen = indices[start : start + 1000].tolist()
            for index, row in zip(chosen, table.select(chosen).to_list(), strict=True):
                yield index + 1, {column: _named(value, names[column]) for column, value in row.items()}

    return RowSource(split, f"hub {spec.data.hub}, {split}", "row", read)


def _class_names(feature: Any) -> list[str] | None:
    """Label names of a column that stores label numbers, alone or in lists."""
    inner = getattr(feature, "feature", feature)
    return list(inner.names) if isinstance(inner, datasets.ClassLabel) else None


def _named(value: Any, names: list[str] | None) -> Any:
    if names is None or value is None:
        return value
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if 0 <= value < len(names) else None
