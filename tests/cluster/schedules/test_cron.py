"""One expression, the same times everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cluster.schedules import parse_cron
from pipeline.errors import InputError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("  0   3 * *  * ", "0 3 * * *"),
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * 0"),
        ("*/15 * * * *", "*/15 * * * *"),
        ("0 3 * * 7", "0 3 * * 0"),  # Kubernetes knows no 7
        ("0 3 * * MON-fri", "0 3 * * 1,2,3,4,5"),
        ("0 3 * * 5-7", "0 3 * * 0,5,6"),
        ("0 3 1 jan,Jul *", "0 3 1 1,7 *"),
        ("0-59 3 * * *", "* 3 * * *"),
        ("10-40/15 3 * * *", "10,25,40 3 * * *"),
        ("0 3 1,15 * 1", "0 3 1,15 * 1"),
    ],
)
def test_one_spelling_for_all(text, canonical):
    assert parse_cron(text).text == canonical


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("@dayly", "@daily"),
        ("@reboot", None),
        ("0 24 * * *", "0 23 * * *"),
        ("60 3 * * *", "59 3 * * *"),
        ("0 3 0 * *", "0 3 1 * *"),
        ("0 3 * * 8", "0 3 * * 6"),
        ("0 3 * * mondai", "0 3 * * mon"),
        ("0 3 1 jly *", "0 3 1 jul *"),
        ("0 3 * * fri-mon", "0 3 * * 0,1,5,6"),  # backwards: Kubernetes refuses it
        ("5/15 * * * *", "5-59/15 * * * *"),  # Vixie cron and Kubernetes differ
        ("*/0 * * * *", "*/1 * * * *"),
        ("0 0 3 * * *", "0 3 * * *"),  # seconds first
        ("0 3 * * * 30", None),
        ("0 3 L * *", "0 3 * * *"),
        ("0 3 * * 5#2", "0 3 * * *"),
        ("0 3 ? * *", "0 3 * * *"),
        ("TZ=Europe/Rome 0 3 * * *", None),
        ("0 3 * *", None),
        ("", None),
        ("0 3 30 2 *", None),  # never
        ("0 3 1 * 0-6", "0 3 * * *"),  # either must fit, and a weekday always does
        ("0 3 1-31 * mon", "0 3 * * *"),
        ("0 3 */2 * mon", "0 3 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31 * 1"),  # and, or or: they differ
    ],
)
def test_what_would_be_misread_is_refused_with_the_nearest_choice(text, nearest):
    with pytest.raises(InputError) as caught:
        parse_cron(text)
    assert caught.value.where == "--cron"
    if nearest is not None:
        assert caught.value.nearest == nearest
        if "*/1" not in nearest:
            parse_cron(nearest)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # Never from a number to itself: croniter takes 0-0 for any weekday.
    span = st.sets(number, min_size=2, max_size=2).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(span, st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    items = st.lists(st.one_of(number.map(str), span, step), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.integers(2, high).map(lambda n: f"*/{n}"), items)


EXPRESSIONS = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)).map(" ".join)


def _parsed(text):
    try:
        return parse_cron(text)
    except InputError:
        assume(False)


@settings(max_examples=300, deadline=None)
@example("0 3 * * 0-6")
@example("0 3 1-31 * *")
@example("0 3 * * 1")
@given(EXPRESSIONS)
def test_the_spelling_does_not_change_the_times(text):
    cron = _parsed(text)
    start = datetime(2026, 11, 25, tzinfo=UTC)
    theirs = croniter(text, start)
    assert cron.next_times(5, UTC, start) == [theirs.get_next(datetime) for _ in range(5)]
    assert parse_cron(cron.text) == cron
    assert re.fullmatch(r"[0-9,*/ ]+", cron.text)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@settings(max_examples=25, deadline=None)
@given(EXPRESSIONS)
def test_systemd_fires_at_the_same_times(text):
    cron = _parsed(text)
    start = datetime(2026, 11, 25, tzinfo=UTC)
    theirs: set[datetime] = set()
    for line in cron.on_calendar("UTC"):
        done = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=6", "--base-time=2026-11-25 00:00:00 UTC", line],
            capture_output=True,
            text=True,
            env={"TZ": "UTC", "LC_ALL": "C"},
        )
        assert done.returncode == 0, done.stderr
        found = re.findall(r"\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", done.stdout)
        theirs |= {datetime.fromisoformat(one).replace(tzinfo=UTC) for one in found if "(in UTC)" not in one}
    ours = cron.next_times(4, UTC, start)
    assert ours == sorted(theirs)[:4]


def test_times_are_told_in_their_zone():
    rome = ZoneInfo("Europe/Rome")
    first = parse_cron("0 3 * * *").next_times(1, rome, datetime(2026, 7, 1, tzinfo=rome))[0]
    assert first.isoformat() == "2026-07-01T03:00:00+02:00"
