"""The chain of an alias's decisions: of those that were written, which count, and what was before what."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.registry.versions.audit import Chain, Decision, Promotion, chain_of, plain_evidence
from pipeline.registry.versions.moves import the_version_before


def decision(number, follows, version, previous=None, kind="promote", **changes):
    promotion = Promotion("intent", "champion", version, previous, "2026-01-01T00:00:00+00:00", "me@here", kind=kind)
    return Decision(number, follows, f"key{number}", promotion, **{"settled": True, **changes})


def moves(*steps):
    """A chain of (kind, version); each starts where the last ended."""
    made, present = [], None
    for number, (kind, version) in enumerate(steps, 1):
        made.append(decision(number, number - 1, version, present, kind))
        present = version
    return Chain(tuple(made))


@given(st.lists(st.integers(0, 12), max_size=20), st.randoms())
def test_the_decisions_that_count_are_one_chain(follows, shuffle):
    written = [decision(number, before, number) for number, before in enumerate(follows, 1) if before < number]
    shuffled = list(written)
    shuffle.shuffle(shuffled)
    chain = chain_of(shuffled)
    numbers = [one.number for one in chain.decisions]
    assert [one.follows for one in chain.decisions] == [0, *numbers][: len(numbers)]
    assert numbers == sorted(numbers)
    # The first that follows one in the chain is in the chain: what counts once counts for ever.
    for one in chain.decisions:
        rivals = [other.number for other in written if other.follows == one.follows and other.number > one.follows]
        assert one.number == min(rivals)
    assert not [one for one in written if one.follows == chain.head and one.number > chain.head]
    assert all(
        chain_of(written[:size]).decisions == chain.decisions[: len(chain_of(written[:size]).decisions)]
        for size in range(len(written))
    )


@given(st.integers(2, 5), st.integers(1, 6), st.integers(0, 2**32))
def test_promoters_that_write_until_they_count_lose_nothing(people, each, seed):
    """Any interleaving of reading and writing, which is all that MLflow leaves to chance."""
    draw, log, left = random.Random(seed), [], dict.fromkeys(range(people), each)
    heads = {}
    while any(left.values()):
        person = draw.choice([one for one, count in left.items() if count])
        if person not in heads:
            heads[person] = chain_of(log).head
            continue
        follows = heads.pop(person)
        log.append(decision(len(log) + 1, follows, person))
        left[person] -= chain_of(log).head == len(log)
    counted = [one.promotion.version for one in chain_of(log).decisions]
    assert sorted(counted) == sorted(list(range(people)) * each)


@pytest.mark.parametrize(
    ("steps", "before"),
    [
        ([("promote", 1), ("promote", 2), ("promote", 3)], 2),
        ([("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2)], 1),
        ([("promote", 1), ("promote", 2), ("rollback", 1)], None),
        ([("promote", 1), ("promote", 2), ("rollback", 1), ("promote", 3)], 1),
        ([("promote", 1), ("promote", 2), ("promote", 2)], 1),
        ([("promote", 1), ("promote", 2), ("promote", 1)], 2),
        ([("promote", 1), ("promote", 2), ("promote", 1), ("rollback", 2), ("rollback", 1)], None),
        ([("promote", 1)], None),
        ([], None),
    ],
)
def test_what_was_before(steps, before):
    chain = moves(*steps)
    if before is not None:
        assert the_version_before(chain, chain.version, task="intent") == before
        return
    with pytest.raises(InputError, match="no version before this one") as told:
        the_version_before(chain, chain.version, task="intent")
    assert "deepprompt registry promote intent@v1" in told.value.message


def test_moves_by_other_means_are_seen_in_what_came_before():
    chain = Chain((decision(1, 0, 1), decision(2, 1, 5, previous=4)))  # somebody else moved it from 1 to 4
    assert chain.before(5) == 4
    assert chain.before(7) == 5  # and to 7 since


def test_a_decision_is_under_way_for_a_minute():
    assert Chain((decision(1, 0, 1, settled=False, since=3.0),)).moving
    assert not Chain((decision(1, 0, 1, settled=False, since=300.0),)).moving
    assert not Chain((decision(1, 0, 1, settled=True, since=3.0),)).moving


@pytest.mark.parametrize("evidence", [{"gain": float("nan")}, {"gain": {1, 2}}, {"rows": object()}])
def test_evidence_that_is_no_json(evidence):
    with pytest.raises(InputError, match="the evidence is not JSON"):
        plain_evidence(evidence)
