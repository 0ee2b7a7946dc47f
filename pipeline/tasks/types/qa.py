"""Extractive question answering: the span of a text that answers a question, or that none does (SQuAD 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.tasks.data.cells import ANSWERS, TEXT
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.encoding.windows import windows
from pipeline.tasks.scoring.scales import PLACES
from pipeline.tasks.types.base import Encoded, Reading, TaskType

LONGEST = 30
"""Tokens of an answer, at most, as in the scripts of BERT."""
NONE = -1  # marks the place that says: no answer


class QuestionAnswering(TaskType):
    """A start and an end among the tokens of all windows of the context.

    A window's first token, which stands before the question, is the place of "no answer" (Devlin et al. 2019, section
    4.3); the places of all windows together are one. A row is answered where its best span is at least so likely
    beside "no answer" as the threshold says that dev chose.
    """

    name = "qa"
    inputs = {"question": TEXT, "context": TEXT}
    target = ("answers", ANSWERS)
    scale = PLACES
    metrics = ("f1", "exact")
    answered = "answer"
    example = {"question": "What is lost?", "context": "My parcel is lost, and nobody knows where it is."}
    pooled = False
    outputs = ("start", "end")
    extra = {"targets": "float32", "ends": "int32"}
    marks = ("words", "ends")
    kept = ("context",)
    thresholded = True
    windowed = True

    def check(self, row: Mapping[str, Any]) -> InputError | None:
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            there = row["context"][start : start + len(text)]
            if there != text:
                what = "the answer is not what stands in the context at answer_start"
                return InputError(what, found=f"{text!r} at {start}", expected=repr(there))
        return None

    def unknown(self, row: Mapping[str, Any]) -> dict[str, list[Any]]:
        return {"text": [], "answer_start": []}

    def encode(self, encoder: Encoder, chunk: Mapping[str, Sequence[Any]]) -> list[list[Encoded]]:
        encoded = encoder.tokenize(chunk["question"], chunk["context"], offsets=True)
        return [self._row(encoder, encoded, index, answers) for index, answers in enumerate(chunk["answers"])]

    def _row(self, encoder: Encoder, encoded: Any, index: int, answers: Mapping[str, Any]) -> list[Encoded]:
        owners, offsets = encoded.sequence_ids(index), encoded["offset_mapping"][index]
        first, last = _gold(owners, offsets, answers)
        cut, lost = windows(owners, encoder.limit, encoder.overlap)
        whole = any(first in window and last in window for window in cut)
        row = []
        for window in cut:
            places = [n for n, token in enumerate(window) if owners[token] == 1 and n > 0]
            tokens = [window[n] for n in places]
            here = not whole or (first in tokens and last in tokens)
            marks = [(float(here and token == first), float(here and token == last)) for token in tokens]
            nothing = float(first == NONE)
            row.append(
                {
                    **encoder.sequence(encoded, index, window, len(window) + lost),
                    "answer": [0, *places],
                    "words": [NONE, *(offsets[token][0] for token in tokens)],
                    "ends": [NONE, *(offsets[token][1] for token in tokens)],
                    "labels": [0] * (len(places) + 1),
                    "targets": [nothing, nothing, *(mark for pair in marks for mark in pair)],
                }
            )
        return row

    def read(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> str:
        start, end, likely, none = _best(reading)
        return "" if _sure(likely, none) < (threshold or 0.0) else reading.row["context"][start:end]

    def tell(self, reading: Reading, labels: Sequence[str], metric: str, threshold: float | None) -> dict[str, Any]:
        text = self.read(reading, labels, metric, threshold)
        start, end, likely, none = _best(reading)
        place = (start, end) if text else (None, None)
        score = likely if text else none
        return {"answer": text, "start": place[0], "end": place[1], "score": score, "no_answer": none}

    def choose_threshold(
        self, readings: Sequence[Reading], gold: Sequence[Any], labels: Sequence[str], metric: str
    ) -> float:
        """As SQuAD 2's script: rows from sure to unsure, the best place to stop answering."""
        if all(answers["text"] for answers in gold):
            return 0.0
        sure = np.array([_sure(*_best(reading)[2:]) for reading in readings])
        told = [self.read(reading, labels, metric, None) for reading in readings]
        answered = np.array([self.score(metric, [g], [t])[metric] for g, t in zip(gold, told, strict=True)])
        silent = np.array([float(not answers["text"]) for answers in gold])
        order = np.argsort(-sure, kind="stable")
        totals = silent.sum() + np.concatenate([[0.0], np.cumsum((answered - silent)[order])])
        # rows that are equally sure are answered alike
        apart = np.concatenate([[True], np.diff(sure[order]) < 0, [True]])
        best = int(np.where(apart, totals, -1.0).argmax())
        return float(sure[order[best - 1]]) if best else 1.1


def _gold(
    owners: Sequence[int | None], offsets: Sequence[tuple[int, int]], answers: Mapping[str, Any]
) -> tuple[int, int]:
    """The first and the last token of the first reference answer; (NONE, NONE) where there is none."""
    if not answers["text"]:
        return NONE, NONE
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    inside = [
        token
        for token, (owner, (start, stop)) in enumerate(zip(owners, offsets, strict=True))
        if owner == 1 and start < end and stop > begin
    ]
    return (inside[0], inside[-1]) if inside else (len(owners), len(owners))  # a text of which no token is left


def _best(reading: Reading) -> tuple[int, int, float, float]:
    """The likeliest span, its first character and the one behind its last, its probability, that of no answer."""
    p: NDArray[np.float64] = reading.p.double().numpy()
    begins, ends = np.asarray(reading.marks["words"]), np.asarray(reading.marks["ends"])
    silent = begins == NONE
    none = float(p[silent, 0].sum() * p[silent, 1].sum())
    window = np.cumsum(silent)
    best, span = -1.0, (0, 0)
    for size in range(min(LONGEST, len(p))):
        joint = p[: len(p) - size, 0] * p[size:, 1]
        joint[silent[: len(p) - size] | (window[: len(p) - size] != window[size:])] = -1.0
        place = int(joint.argmax())
        if joint[place] > best:
            best, span = float(joint[place]), (int(begins[place]), int(ends[place + size]))
    return *span, max(best, 0.0), none


def _sure(likely: float, none: float) -> float:
    """How likely the best span is beside no answer."""
    return likely / (likely + none) if likely + none > 0 else 0.0
