"""When a schedule fires: one cron expression that every scheduler understands alike.

Kubernetes (robfig/cron), Vixie cron, cronie, GitHub and systemd each read a dialect. Here only what means the same in
all of them is let through, rewritten in one spelling; the rest is refused with the spelling that would do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

from pipeline.errors import InputError, nearest

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
EXAMPLE = "minute hour day month weekday, such as '0 3 * * *'"
WHERE = "--cron"
_ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d{1,4}))?", re.ASCII)


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, MONTHS),
    _Field("weekday", 0, 6, DAYS),
)


@dataclass(frozen=True)
class Cron:
    """A checked expression.

    Attributes:
        text: five fields, numbers only, Sunday is 0.
        values: of each field, what it fires at; None for any.
    """

    text: str
    values: tuple[tuple[int, ...] | None, ...]

    def next_times(self, count: int, zone: tzinfo, after: datetime | None = None) -> list[datetime]:
        """The next times it fires, in `zone`."""
        from croniter import croniter

        ticks = croniter(self.text, after or datetime.now(zone))
        return [ticks.get_next(datetime) for _ in range(count)]

    def gaps(self) -> tuple[timedelta, timedelta]:
        """The shortest and the longest time between two of its next hundred ticks."""
        times = self.next_times(100, UTC)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return min(gaps), max(gaps)

    def on_calendar(self, zone: str | None = None) -> list[str]:
        """The same times as systemd's OnCalendar lines.

        Cron fires when the day *or* the weekday fits, where both are given; systemd when both fit: two lines then.
        """
        minute, hour, day, month, weekday = self.values
        clock = f"{_numbers(hour)}:{_numbers(minute)}:00" + (f" {zone}" if zone else "")
        of_day = f"*-{_numbers(month)}-{_numbers(day)} {clock}"
        if weekday is None:
            return [of_day]
        of_weekday = f"{','.join(DAYS[number].capitalize() for number in weekday)} *-{_numbers(month)}-* {clock}"
        return [of_weekday] if day is None else [of_day, of_weekday]


def parse_cron(text: str) -> Cron:
    """Checks an expression.

    Raises:
        InputError: it is no cron expression, never fires, or means different things to different schedulers.
    """
    words = text.strip().lower().split()
    if words and words[0].startswith("@"):
        words = _macro(text.strip())
    if len(words) != len(FIELDS):
        raise InputError(
            f"a cron expression has five fields, this has {len(words)}",
            where=WHERE,
            found=text,
            expected=EXAMPLE,
            nearest=_five_of(words),
            hint="there are no seconds and no years" if len(words) > len(FIELDS) else None,
        )
    fields = [_field(field, word, words, index) for index, (field, word) in enumerate(zip(FIELDS, words, strict=True))]
    cron = Cron(" ".join(spelling for spelling, _ in fields), tuple(values for _, values in fields))
    _one_meaning(cron, words, text)
    _fires(cron, text)
    return cron


def _macro(text: str) -> list[str]:
    meant = MACROS.get(text.lower())
    if meant is None:
        close = nearest(text.lower(), MACROS)
        expected = f"{EXAMPLE}, or one of {', '.join(MACROS)}"
        raise InputError("there is no such schedule", where=WHERE, found=text, expected=expected, nearest=close)
    return meant.split()


def _five_of(words: Sequence[str]) -> str | None:
    """Of too many fields, the five that make an expression: seconds stand first (Quartz) or last (croniter)."""
    for five in (words[1:6], words[:5]):
        try:
            return parse_cron(" ".join(five)).text if len(words) in (6, 7) else None
        except InputError:
            continue
    return None


def _field(field: _Field, word: str, words: Sequence[str], index: int) -> tuple[str, tuple[int, ...] | None]:
    """One field: how it is spelt, and its values."""

    def refuse(what: str, instead: str | None) -> InputError:
        whole = None if instead is None else " ".join([*words[:index], instead, *words[index + 1 :]])
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        expected = f"{field.low} to {field.high}{names}"
        found = " ".join(words)
        return InputError(f"{field.name}: {what}", where=WHERE, found=found, expected=expected, nearest=whole)

    def number(piece: str) -> int:
        if piece.isdecimal() and len(piece) <= 4:
            value = int(piece)
            if field.low <= value <= field.high or (field.names is DAYS and value == 7):
                return value
            raise refuse(f"{piece} is out of range", str(min(max(value, field.low), field.high)))
        if piece in field.names:
            return field.names.index(piece) + field.low
        close = nearest(piece[:3], field.names) if field.names else None
        raise refuse(f"{piece!r} is not understood", close or "*")

    chosen: set[int] = set()
    for item in word.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise refuse(f"{item!r} is not understood by every scheduler", "*")
        first, last, step = match["first"], match["last"], int(match["step"] or 1)
        if step < 1 or step > field.high:
            raise refuse(f"a step of {step}", f"{item.partition('/')[0]}/{min(max(step, 1), field.high)}")
        if first == "*":
            if last is not None:
                raise refuse(f"{item!r} is not understood", "*")
            chosen.update(range(field.low, field.high + 1, step))
            continue
        low = number(first)
        high = number(last) if last is not None else low
        if match["step"] and last is None:
            raise refuse(f"{item!r} is read differently by different schedulers", f"{low}-{field.high}/{step}")
        if high < low:
            days = [*range(low, field.high + 1), *range(field.low, high + 1)]
            raise refuse(f"the range {item} runs backwards", ",".join(map(str, sorted(days))))
        chosen.update(range(low, high + 1, step))
    values = tuple(sorted({value % 7 for value in chosen} if field.names is DAYS else chosen))
    if len(values) == field.high - field.low + 1:
        return "*", None
    return (word if re.fullmatch(r"\*/\d+", word) else _numbers(values)), values


def _numbers(values: Sequence[int] | None) -> str:
    return "*" if values is None else ",".join(map(str, values))


def _one_meaning(cron: Cron, words: Sequence[str], text: str) -> None:
    """Day and weekday together mean either, unless one begins with a star: there Vixie cron and Kubernetes part."""
    _, _, day, _, weekday = cron.values
    spelt = [*cron.text.split()]
    if (day is None) != (weekday is None) and not words[2 if day is None else 4].startswith("*"):
        # No star: either must fit, and one always does. Spelt as a star it would leave the deciding to the other.
        spelt[2] = spelt[4] = "*"
        raise InputError(
            "day and weekday are both given and one of them is every day, so it fires every day",
            where=WHERE,
            found=text,
            expected="'*' for the one that does not matter",
            nearest=" ".join(spelt),
        )
    if day is None or weekday is None or not any(words[index].startswith("*") for index in (2, 4)):
        return
    spelt[2], spelt[4] = _numbers(day), _numbers(weekday)
    raise InputError(
        "day and weekday are both given, one as a step from '*': schedulers differ in whether both must fit",
        where=WHERE,
        found=text,
        expected="a list of days, which fires when either fits, or '*' for one of the two",
        nearest=" ".join(spelt),
    )


def _fires(cron: Cron, text: str) -> None:
    from croniter import CroniterError

    try:
        cron.next_times(1, UTC)
    except CroniterError as error:
        raise InputError("this never fires", where=WHERE, found=text, expected="a day that its months have") from error
