from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.tasks import DataSource, TaskSpec, check_spec, check_task_name

LOCAL = DataSource(path="data")


@pytest.mark.parametrize("name", ["intent", "boolq-2.1", "a", "9_lives", "_x", "x" * 64])
def test_names_that_serve(name: str) -> None:
    check_task_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a b", ".", "..", ".hidden", "-flag", "ä", "x\n", "x" * 65])
def test_names_that_do_not(name: str) -> None:
    with pytest.raises(InputError, match="cannot name a task"):
        check_task_name(name)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (TaskSpec("t", "clasification", LOCAL), ["unknown type", "'classification'"]),
        (TaskSpec("t", "pair", LOCAL, metric="acuracy"), ["unknown metric", "'accuracy'"]),
        (TaskSpec("t", "token", LOCAL, metric="accuracy"), ["unknown metric", "span_f1"]),
        (TaskSpec("t", "pair", LOCAL, columns={"text_c": "x"}), ["unknown columns", "text_c", "text_a"]),
        (TaskSpec("t", "pair", LOCAL, unseen_labels="counts"), ["unknown unseen_labels", "'count'"]),
        (TaskSpec("t", "pair", LOCAL, too_long="cut"), ["unknown too_long", "truncate, refuse"]),
        (TaskSpec("t", "pair", LOCAL, max_tokens=0), ["max_tokens", "0"]),
        (TaskSpec("t", "pair", DataSource()), ["one source", "none of them"]),
        (TaskSpec("t", "pair", DataSource(path="a", hub="b")), ["one source", "path and hub"]),
        (TaskSpec("t", "pair", DataSource(path="a", rows=0)), ["data.rows"]),
        (TaskSpec("t", "pair", DataSource(path="a", revision="main")), ["data.revision", "hub only"]),
        (TaskSpec("a/b", "pair", LOCAL), ["cannot name a task"]),
    ],
)
def test_each_mistake_is_told_with_what_would_be_right(spec: TaskSpec, words: list[str]) -> None:
    (problem,) = check_spec(spec)
    assert all(word in problem.message for word in words), problem.message


def test_several_mistakes_are_told_together() -> None:
    spec = TaskSpec("t", "token", DataSource(path="a", demo="b"), metric="f1", too_long="no", columns={"text": "x"})
    assert len(check_spec(spec)) == 4


def test_a_sound_spec_has_no_mistake() -> None:
    spec = TaskSpec("boolq", "pair", DataSource(hub="google/boolq"), columns={"text_a": "question", "label": "answer"})
    assert check_spec(spec) == []
