"""Tags that mark spans: B-X begins one of kind X, I-X continues it, O is outside; or B, I and O, if all are alike."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.errors import InputError

_CHUNK = re.compile(r"[BI]-.+", re.DOTALL)


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
