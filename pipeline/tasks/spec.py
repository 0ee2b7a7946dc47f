"""What a task is, as the user writes it: a name, a type, where its rows are, and the rules for rows that do not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import InputError, nearest
from pipeline.tasks.decoding import Decoding
from pipeline.tasks.encoding.template import parse_template
from pipeline.tasks.encoding.windows import OVERLAP
from pipeline.tasks.types import TASK_TYPES


@dataclass(frozen=True)
class DataSource:
    """Where a task's rows come from: exactly one of `path`, `hub` and `demo`.

    Args:
        path: folder with train, dev and test as .jsonl, .csv or .parquet: a local one, or a URI that fsspec reads.
        hub: dataset name for `datasets.load_dataset` (or a folder that it understands).
        demo: name of a task of the built-in demo suite.
        revision: commit, tag or branch of the hub dataset.
        subset: configuration of the hub dataset.
        rows: at most this many training rows (few-shot); dev and test stay whole.
        seed: chooses the few-shot rows, and generates the demo rows.
    """

    path: str | None = None
    hub: str | None = None
    demo: str | None = None
    revision: str | None = None
    subset: str | None = None
    rows: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class TaskSpec:
    """One task as configured.

    Args:
        name: names the task everywhere, also in the registry; see `check_task_name`.
        type: a key of `TASK_TYPES`.
        data: where the rows are.
        columns: our column name -> the name it has in the data.
        metric: a metric of the type, or "auto".
        unseen_labels: a label in dev or test that train lacks is refused ("refuse") or counted as a miss ("count").
        too_long: rows longer than the backbone allows are cut ("truncate") or refused ("refuse").
        max_tokens: own limit on a row's tokens, special tokens included; the backbone's limit holds besides.
        pooling: what a text's vector is: "mean" over its tokens, its "first" or its "last" token, or "auto"; of two
            texts both means, their difference and their product with "pair".
        overlap: tokens that neighbouring windows of a long text share, for types that read such a text in windows.
        decoding: how texts are written, for types that write; None for the usual way.
        template: what rows are put into, see `encoding.template`; None for nothing.
        head: what turns hidden states into an answer: a "linear" map, or the "verbalizer", words of the vocabulary.
        words: of the verbalizer: label → its words; None for the labels' own names.
    """

    name: str
    type: str
    data: DataSource
    columns: Mapping[str, str] = field(default_factory=dict)
    metric: str = "auto"
    unseen_labels: str = "refuse"
    too_long: str = "truncate"
    max_tokens: int | None = None
    pooling: str = "auto"
    overlap: int = OVERLAP
    decoding: Decoding | None = None
    template: str | None = None
    head: str = "linear"
    words: Mapping[str, Sequence[str]] | None = None

    @property
    def writing(self) -> Decoding | None:
        """How the task's texts are written; None for a type that writes none."""
        return (self.decoding or Decoding()) if TASK_TYPES[self.type].written else None

    @property
    def fields(self) -> dict[str, str]:
        """The names by which a template may call the row's fields, the data's and ours → ours."""
        inputs = TASK_TYPES[self.type].inputs
        theirs = {name: ours for ours, name in self.columns.items() if ours in inputs}
        return theirs | {name: name for name in inputs}


# The splits of a task, and the names that data gives them.
SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
SPLITS = tuple(SPLIT_NAMES)
UNSEEN_LABELS = ("refuse", "count")
TOO_LONG = ("truncate", "refuse")
POOLINGS = ("auto", "mean", "first", "last", "pair")
HEADS = ("linear", "verbalizer")

# A task's name becomes part of a registered model's name, of folder names and of a command line. MLflow refuses "/" and
# ":" in model names; a leading "." would hide the folder (or climb out of it), a leading "-" would read as an option.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def check_task_name(name: str) -> None:
    """Raises InputError unless `name` can name folders and registered models alike."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            "this cannot name a task",
            where="tasks",
            found=name,
            expected="1 to 64 letters, digits, '_', '-' or '.', beginning with a letter, digit or '_'",
        )


def check_spec(spec: TaskSpec) -> list[InputError]:
    """Every mistake in a spec that shows without reading data."""
    problems: list[InputError] = []
    try:
        check_task_name(spec.name)
    except InputError as problem:
        problems.append(problem)
    where = f"task {spec.name!r}"
    problems += _check_source(spec.data, where)
    problems += _check_choice("unseen_labels", spec.unseen_labels, UNSEEN_LABELS, where)
    problems += _check_choice("too_long", spec.too_long, TOO_LONG, where)
    problems += _check_choice("pooling", spec.pooling, POOLINGS, where)
    if spec.overlap < 0:
        problems.append(InputError("overlap must not be negative", where=where, found=spec.overlap))
    if spec.max_tokens is not None and spec.max_tokens < 1:
        problems.append(InputError("max_tokens must be positive", where=where, found=spec.max_tokens))
    unknown_type = _check_choice("type", spec.type, tuple(TASK_TYPES), where)
    if unknown_type:
        return problems + unknown_type
    kind = TASK_TYPES[spec.type]
    problems += _check_choice("metric", spec.metric, ("auto", *kind.metrics), where)
    for column in spec.columns:
        problems += _check_choice("columns", column, tuple(kind.columns), where)
    if spec.decoding is not None and not kind.written:
        what = f"decoding goes with types that write texts, not with {spec.type}"
        problems.append(InputError(what, where=where))
    elif spec.decoding is not None:
        problems += spec.decoding.problems(where)
    if spec.pooling != "auto" and not kind.pooled:
        what = f"pooling goes with types that answer a text as a whole, not with {spec.type}"
        problems.append(InputError(what, where=where, found=spec.pooling))
    elif spec.pooling == "pair" and (not kind.compared or spec.template is not None):
        what = "pooling pair reads two texts that stand side by side"
        found = f"a template for its {spec.type} rows" if kind.compared else f"type {spec.type}"
        problems.append(InputError(what, where=where, found=found, expected="a type of two texts, without a template"))
    return problems + check_template(spec)


def check_template(spec: TaskSpec) -> list[InputError]:
    """What is wrong with a task's template, its head and its words that shows without a tokenizer."""
    where = f"task {spec.name!r}"
    kind = TASK_TYPES[spec.type]
    problems = _check_choice("head", spec.head, HEADS, where)
    if spec.head == "verbalizer" and not kind.verbal:
        able = ", ".join(name for name, one in TASK_TYPES.items() if one.verbal)
        problems.append(
            InputError("head verbalizer gives a text one label", where=where, found=spec.type, expected=able)
        )
    elif spec.head == "verbalizer" and spec.template is None:
        what = "a template is missing: the head verbalizer reads label words in one"
        problems.append(InputError(what, where=where, expected='such as "{text} It was {mask}."'))
    if spec.words is not None and spec.head != "verbalizer":
        problems.append(InputError("words for labels go with head: verbalizer", where=where, found=spec.head))
    if spec.template is None:
        return problems
    if not kind.templated:
        able = ", ".join(name for name, one in TASK_TYPES.items() if one.templated)
        return [*problems, InputError("a template takes texts", where=where, found=spec.type, expected=able)]
    try:
        parse_template(spec.template, spec.fields)
    except InputError as problem:
        problems.append(problem.at(where))
    return problems


def _check_source(data: DataSource, where: str) -> list[InputError]:
    problems: list[InputError] = []
    given = [key for key in ("path", "hub", "demo") if getattr(data, key) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        problems.append(
            InputError("data must name one source", where=where, found=found, expected="one of path, hub and demo")
        )
    for key in ("revision", "subset"):
        if getattr(data, key) is not None and data.hub is None:
            problems.append(InputError(f"data.{key} goes with data.hub only", where=where, found=getattr(data, key)))
    if data.rows is not None and data.rows < 1:
        problems.append(InputError("data.rows must be positive", where=where, found=data.rows))
    return problems


def _check_choice(key: str, value: str, choices: tuple[str, ...], where: str) -> list[InputError]:
    if value in choices:
        return []
    return [
        InputError(
            f"unknown {key}",
            where=where,
            found=value,
            expected=", ".join(choices),
            nearest=nearest(str(value), choices),
        )
    ]
