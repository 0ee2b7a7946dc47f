"""The one way a user's mistake is told.

Every entry (config, data file, artifact, CLI argument) is checked; a mistake becomes an `InputError`, which says where
it is, what was found, what was expected and the nearest valid choice. The command line prints it and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """One mistake in what the user gave us.

    Args:
        what: the mistake in one sentence.
        where: file, line, config path or argument.
        found: the offending value.
        expected: what would have been right.
        nearest: the valid choice closest to what was found.
        hint: what to do about it, when that is not obvious.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        found: object = None,
        expected: object = None,
        nearest: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.found = found
        self.expected = expected
        self.nearest = nearest
        self.hint = hint
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The whole error in one line: `where: what; found …; expected …; did you mean …?; hint`."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.found is not None:
            parts.append(f"found {_short(self.found)}")
        if self.expected is not None:
            parts.append(f"expected {_short(self.expected)}")
        if self.nearest is not None:
            parts.append(f"did you mean {self.nearest!r}?")
        if self.hint is not None:
            parts.append(self.hint)
        return "; ".join(parts)

    def at(self, where: str) -> InputError:
        """The same mistake, told of another place: who called knows it better than who found the mistake."""
        return InputError(
            self.what, where=where, found=self.found, expected=self.expected, nearest=self.nearest, hint=self.hint
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between processes; the default pickling would lose the keyword arguments.
        return (_rebuild, (self.what, self.where, self.found, self.expected, self.nearest, self.hint))


class InputErrors(InputError):
    """Several mistakes found in one pass, so that the user mends them all at once."""

    def __init__(self, problems: Iterable[InputError]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(problem.message for problem in self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return (InputErrors, (self.problems,))


def _rebuild(
    what: str, where: str | None, found: object, expected: object, nearest: str | None, hint: str | None
) -> InputError:
    return InputError(what, where=where, found=found, expected=expected, nearest=nearest, hint=hint)


def _short(value: object, limit: int = 300) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def raise_all(problems: list[InputError]) -> None:
    """Raises what was found: nothing, the one mistake, or all of them together."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InputErrors(problems)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice closest to `word`, or None when none is close enough to be worth suggesting."""
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return matches[0] if matches else None
