"""Tags that mark spans: B-X begins one of kind X, I-X continues it, O is outside; or B, I and O, if all are alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

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


def likeliest_bio(p: NDArray[np.float32], labels: Sequence[str], joined: Sequence[bool]) -> list[int]:
    """The likeliest tags of a row among those that are BIO, words taken as independent: Viterbi decoding in which an I
    follows its own kind only, and all else anything (as Lample et al. 2016, section 2.2, with fixed transitions).

    Where each word's likeliest tag already fits, it is those.

    Args:
        p: [A, C] probabilities. labels: C tags. joined: for each of the A words, whether the one before it in the row
            stands right before it in the text; a span does not go over what was not answered.

    Returns:
        A places among the labels.
    """
    inside, opening, may_follow = _insides(tuple(labels))  # [I], [I]
    best: list[int] = p.argmax(1).tolist()
    if all(
        tag not in may_follow or (follows and best[n - 1] in may_follow[tag])
        for n, (tag, follows) in enumerate(zip(best, joined, strict=True))
    ):
        return best
    told = np.log(np.maximum(p.astype(np.float64), 1e-30))  # [A, C]
    score, sources = np.zeros(len(labels)), []
    for word, follows in zip(told, joined, strict=True):
        source = np.full(len(labels), score.argmax())
        reached = np.full(len(labels), score.max())
        if follows:
            # the label that opens a kind may be missing: then only the kind itself goes before
            opened = np.where(opening >= 0, score[opening], -np.inf)  # [I]
            source[inside] = np.where(opened >= score[inside], opening, inside)
            reached[inside] = np.maximum(opened, score[inside])
        else:
            reached[inside] = -np.inf
        sources.append(source)
        score = reached + word
    path = [int(score.argmax())]
    for source in sources[:0:-1]:
        path.append(int(source[path[-1]]))
    return path[::-1]


@lru_cache
def _insides(labels: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[int, tuple[int, int]]]:
    """Where the I tags stand, and for each where the B of its kind does, -1 where it does not; I → what it follows."""
    inside = [n for n, label in enumerate(labels) if label == "I" or label.startswith("I-")]
    opening = [labels.index("B" + labels[n][1:]) if "B" + labels[n][1:] in labels else -1 for n in inside]
    may_follow = {tag: (tag, opener) for tag, opener in zip(inside, opening, strict=True)}
    return np.array(inside, dtype=np.int64), np.array(opening, dtype=np.int64), may_follow
