"""Long contexts: windows cover every token and overlap as said, offsets lead back into the text, the best span wins."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from pipeline.tasks import TASK_TYPES, Reading
from pipeline.tasks.encoding.encoder import Encoder
from pipeline.tasks.encoding.windows import windows
from pipeline.tasks.types.qa import LONGEST, NONE

QA = TASK_TYPES["qa"]
TEXT = st.text(st.sampled_from("ab éß漢字🙂\u0301.,-\n'"), min_size=1, max_size=160).filter(str.strip)


@given(st.integers(1, 20), st.integers(0, 200), st.integers(4, 60), st.integers(0, 80))
def test_windows_cover_the_text_and_overlap(question: int, context: int, limit: int, overlap: int) -> None:
    owners = [None, *[0] * question, None, *[1] * context, None]
    cut, lost = windows(owners, limit, overlap)
    text = [place for place, owner in enumerate(owners) if owner == 1]
    pieces = [[place for place in window if owners[place] == 1] for window in cut]
    assert all(len(window) <= limit and window == sorted(set(window)) for window in cut)
    assert sorted({place for piece in pieces for place in piece}) == text
    assert len({tuple(place for place in window if owners[place] != 1) for window in cut}) == 1
    assert sum(owner != 1 for owner in owners) - lost == sum(owners[place] != 1 for place in cut[0])
    assert not lost or lost < question or limit < 8, "some of the question is left"
    for one, other in pairwise(pieces):
        shared = len(set(one) & set(other))
        assert shared == min(overlap, len(one) // 2), "neighbours share what was asked for, at most half"
        assert one[0] < other[0] and one[-1] < other[-1]


@pytest.fixture(scope="module", params=["minilm", "byte_level"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    chosen: PreTrainedTokenizerBase = request.getfixturevalue(request.param)
    return chosen


@given(context=TEXT, question=TEXT, limit=st.integers(8, 40), overlap=st.integers(0, 12), data=st.data())
@settings(max_examples=80, deadline=None)
def test_offsets_lead_back_into_the_text(
    tokenizer: PreTrainedTokenizerBase, context: str, question: str, limit: int, overlap: int, data: st.DataObject
) -> None:
    whole = tokenizer(question, context, return_offsets_mapping=True, add_special_tokens=False)
    own = [o for o, owner in zip(whole["offset_mapping"], whole.sequence_ids(0), strict=True) if owner == 1]
    if not own or not tokenizer(question, add_special_tokens=False)["input_ids"]:
        return
    first = data.draw(st.integers(0, len(own) - 1))
    # well below the longest answer: where tokens are bytes, an answer takes in the other bytes of its last character
    last = data.draw(st.integers(first, min(len(own), first + LONGEST - 8) - 1))
    start, end = own[first][0], max(own[first][0] + 1, own[last][1])
    answer = context[start:end]
    gold = {"text": [answer], "answer_start": [start]}
    encoder = Encoder(tokenizer, ("start", "end"), limit, overlap)
    ((*row,),) = QA.encode(encoder, {"question": [question], "context": [context], "answers": [gold]})
    # every character that the tokenizer reads is in some window, at its own place
    covered = {at for one in row for s, e in zip(one["words"], one["ends"], strict=True) for at in range(s, e)}
    assert covered >= {at for s, e in own for at in range(s, e)}
    for one in row:
        assert len(one["input_ids"]) <= limit and one["words"][0] == one["ends"][0] == NONE
        for position, s, e in list(zip(one["answer"], one["words"], one["ends"], strict=True))[1:]:
            assert (s, e) in own
            assert one["input_ids"][position] in [
                i for i, o in zip(whole["input_ids"], whole["offset_mapping"], strict=True) if o == (s, e)
            ]
    # one who is sure of the gold places finds the gold text again, if any window holds all of it
    p = torch.tensor([mark for one in row for mark in one["targets"]]).view(-1, 2)
    marks = {key: [mark for one in row for mark in one[key]] for key in ("words", "ends")}
    if any(1.0 in one["targets"][0::2] and 1.0 in one["targets"][1::2] for one in row):
        told = QA.read(Reading(p, marks, {"context": context}), ("start", "end"), "f1", None)
        assert told.strip() == answer.strip() or answer.strip() in told


def reading(starts: list[float], ends: list[float], words: list[int], context: str = "xbcdefgh") -> Reading:
    """One character per token, none of them an article; NONE begins a window."""
    marks = {"words": words, "ends": [word if word == NONE else word + 1 for word in words]}
    return Reading(torch.tensor([starts, ends]).T, marks, {"context": context})


def test_the_best_span_by_hand() -> None:
    one = reading([0.1, 0.2, 0.6, 0.1], [0.1, 0.5, 0.1, 0.3], [NONE, 0, 1, 2])
    # from 1 to 2: 0.6 * 0.3 = 0.18; the likelier end at 0 stands before the likelier start
    assert QA.tell(one, (), "f1", None) == pytest.approx(
        {"answer": "bc", "start": 1, "end": 3, "score": 0.18, "no_answer": 0.01}
    )


def test_a_span_lies_in_one_window_and_windows_compare() -> None:
    one = reading([0, 0.5, 0.1, 0, 0.2, 0.2], [0, 0.1, 0.0, 0, 0.4, 0.5], [NONE, 0, 1, NONE, 1, 2])
    # 0.5 * 0.5 across windows is none; within: 0.5 * 0.1, 0.2 * 0.4, twice 0.2 * 0.5, of which the shorter counts
    assert QA.tell(one, (), "f1", None)["score"] == pytest.approx(0.1)
    assert QA.read(one, (), "f1", None) == "c"


def test_no_answer_counts_over_all_windows() -> None:
    one = reading([0.3, 0.3, 0.3, 0.1], [0.3, 0.3, 0.3, 0.1], [NONE, 0, NONE, 1])
    told = QA.tell(one, (), "f1", 0.5)
    assert told == pytest.approx({"answer": "", "start": None, "end": None, "score": 0.36, "no_answer": 0.36})
    assert QA.read(one, (), "f1", 0.19) == "x", "0.09 beside 0.36 is surer than 0.19"


def test_the_threshold_by_hand() -> None:
    """Sure 0.9 right, 0.6 of an unanswerable row, 0.5 right, 0.2 of an unanswerable row: best is to answer the first
    three, or the first alone, with 3 of 4 right; the surer place is taken."""
    rows = [reading([1 - s, s], [1 - s, s], [NONE, 0]) for s in (0.75, 0.55, 0.5, 1 / 3)]
    there, nothing = {"text": ["x"], "answer_start": [0]}, {"text": [], "answer_start": []}
    gold = [there, nothing, there, nothing]
    chosen = QA.choose_threshold(rows, gold, (), "exact")
    assert chosen == pytest.approx(0.9)
    told = [QA.read(one, (), "exact", chosen) for one in rows]
    assert told == ["x", "", "", ""] and QA.score("exact", gold, told)["exact"] == 0.75
    assert QA.choose_threshold(rows, [there] * 4, (), "exact") == 0.0
    assert [QA.read(one, (), "f1", QA.choose_threshold(rows, [nothing] * 4, (), "f1")) for one in rows] == [""] * 4


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans(), st.booleans()), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_no_other_threshold_does_better(rows: list[tuple[float, bool, bool]]) -> None:
    readings = [reading([1 - s, s], [1 - s, s], [NONE, 0]) for s, _, _ in rows]
    gold = [
        {"text": ["x" if right else "b"], "answer_start": [0]} if there else {"text": [], "answer_start": []}
        for _, there, right in rows
    ]

    def worth(threshold: float) -> float:
        return QA.score("exact", gold, [QA.read(one, (), "exact", threshold) for one in readings])["exact"]

    chosen = QA.choose_threshold(readings, gold, (), "exact")
    assert worth(chosen) >= max(worth(step / 40) for step in range(46)) - 1e-9
