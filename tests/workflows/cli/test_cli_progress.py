"""Progress: bars on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import io

import pytest

from workflows.cli.progress import Lines, label, show_progress
from workflows.words import span


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def events(listener, clock, steps, seconds, **fields):
    for step in range(steps + 1):
        listener({"done": step, "total": steps, **fields})
        clock.now += seconds


def test_away_from_a_terminal_lines_are_sparse():
    stream, clock = io.StringIO(), Clock()
    with show_progress(stream, clock=clock) as listener:
        events(listener, clock, 100, 0.5, stage="pretrain", note="loss 0.3")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6  # at 0, 10, 20, 30, 40 seconds, and at the end
    assert lines[0] == "pretrain  0/100  loss 0.3"
    assert lines[2] == "pretrain  40/100  0:30 left  loss 0.3"
    assert lines[-1] == "pretrain  100/100  in 0:50  loss 0.3"


def test_time_left_counts_from_where_an_interrupted_stage_went_on():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock)
    for done, clock.now in ((50, 0.0), (60, 10.0)):
        lines({"stage": "pretrain", "done": done, "total": 100})
    assert "0:40 left" in stream.getvalue()


def test_stages_side_by_side_do_not_hide_each_other():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock)
    for task in ("a", "b"):
        lines({"stage": "adapt", "task": task, "done": 0, "total": 9})
    assert stream.getvalue().splitlines() == ["adapt/a  0/9", "adapt/b  0/9"]


def test_a_remark_is_shown_at_once():
    stream = io.StringIO()
    with show_progress(stream) as listener:
        listener({"stage": "prepare", "task": "a", "note": "skipped: unchanged"})
    assert stream.getvalue() == "prepare/a  skipped: unchanged\n"


def test_a_closed_stream_does_not_stop_the_work():
    stream = io.StringIO()
    with show_progress(stream) as listener:
        stream.close()
        listener({"stage": "adapt", "done": 0, "total": 1})


def test_on_a_terminal_finished_stages_leave_a_line():
    stream = Terminal()
    with show_progress(stream) as listener:
        listener({"stage": "ray", "note": "starting [local]"})
        for done in range(4):
            listener({"stage": "adapt", "task": "a", "done": done, "total": 3, "note": "dev 0.9"})
    text = stream.getvalue()
    assert "ray  starting [local]" in text
    assert "adapt/a  3/3  in 0:00  dev 0.9" in text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (42, "0:42"), (725, "12:05"), (12000, "3:20:00")])
def test_durations(seconds, text):
    assert span(seconds) == text


def test_labels():
    assert label({"stage": "adapt", "task": "a"}) == "adapt/a"
    assert label({"stage": "adapt/a", "task": "a"}) == "adapt/a"
    assert label({"stage": "pretrain"}) == "pretrain"
