"""Decisions of a retraining, from what the registry knows: no registry, no backbone."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from pipeline.registry.versions.notes import Noted
from workflows.config.operating import RetrainSettings
from workflows.retrain.decide import Decision, Fresh, Known, decide

PARTS = {"data (train)": "a", "data (dev)": "b", "backbone": "c", "code": "d", "config (adapt)": "e"}
TODAY = date(2026, 3, 31)


def version(number=1, *aliases, parts=PARTS, day=1, contends="champion", **notes):
    told = {"follows": json.dumps(parts), "contends": contends, "attempted": f"2026-03-{day:02}T03:00:00.000+00:00"}
    created = datetime(2026, 3, 1, tzinfo=UTC)
    return Noted(number, created, "run", frozenset(aliases), {**told, **notes})


def decided(versions, *conditions, parts=PARTS, as_of=TODAY, fresh=None, **settings) -> Decision:
    return decide("intent", Known.of(versions), parts, RetrainSettings(**settings), conditions, as_of, fresh)


@pytest.mark.parametrize("condition", ["changed", "stale", "degraded", "always"])
def test_a_task_without_a_champion_is_always_adapted(condition):
    assert decided([], condition) == Decision("intent", True, "it has no champion yet")


def test_nothing_changed_is_kept_and_says_since_when():
    assert decided([version(3, "champion")], "changed") == Decision("intent", False, "nothing changed since v3", 3)


def test_what_changed_is_named():
    found = decided([version(3, "champion")], "changed", parts={**PARTS, "data (train)": "x", "code": "y"})
    assert found == Decision("intent", True, "changed since v3: data (train), code", 3)


def test_what_the_gate_did_not_let_through_is_not_trained_again_from_the_same():
    changed = {**PARTS, "data (train)": "x"}
    versions = [version(3, "champion"), version(4, parts=changed, day=20)]
    found = decided(versions, "changed", parts=changed)
    assert not found.adapt and found.champion == 3
    assert found.why == "nothing changed since v4 (which is not the champion)"
    assert decided(versions, "changed").adapt  # and back again is a change


def test_the_newest_attempt_is_the_one_made_last_not_the_highest_number():
    back = [version(1, "champion", day=25), version(2, parts={**PARTS, "code": "z"}, day=20)]
    assert decided(back, "changed").why == "nothing changed since v1"


def test_ensembles_are_no_attempts():
    versions = [version(1, "champion"), version(2, parts={"code": "z"}, day=20, contends="ensemble")]
    assert not decided(versions, "changed").adapt


def test_a_version_that_says_nothing_of_its_origin_is_trained_again():
    old = Noted(1, datetime(2026, 3, 1, tzinfo=UTC), None, frozenset({"champion"}), {})
    assert decided([old], "changed").why == "v1 does not say what it was trained from"


@pytest.mark.parametrize(("days", "adapt"), [(29, False), (30, False), (31, True)])
def test_age_is_counted_from_the_last_training_to_the_date_it_is_done_for(days, adapt):
    found = decided(
        [version(2, "champion", day=1)],
        "stale",
        as_of=date(2026, 3, 1 + days) if days < 31 else TODAY.replace(month=4, day=1),
    )
    assert found.adapt is adapt and "max_age is 30" in found.why and str(days) in found.why


def test_age_is_told_by_the_logical_date_where_one_is_known():
    champion = version(2, "champion", day=1, as_of="2026-06-01")
    assert not decided([champion], "stale", as_of=date(2026, 6, 30)).adapt
    assert decided([champion], "stale", as_of=date(2026, 7, 2)).adapt


def test_a_stale_champion_whose_successor_failed_from_the_same_data_is_left_alone():
    versions = [version(1, "champion", day=1), version(2, day=30)]
    found = decided(versions, "stale", max_age=7)
    assert not found.adapt and "v2 was trained 1 day ago from the same" in found.why
    assert decided(versions, "stale", max_age=7, parts={**PARTS, "data (dev)": "new"}).adapt


@pytest.mark.parametrize(("now", "adapt"), [(0.89, False), (0.87, True)])
def test_degraded_is_a_fall_by_more_than_the_bound(now, adapt):
    found = decided([version(1, "champion")], "degraded", fresh=Fresh(0.9, now), max_drop=0.025)
    assert found.adapt is adapt and f"dev 0.900 when trained, {now:.3f} on the present rows" in found.why


def test_a_champion_that_cannot_answer_the_present_rows_is_degraded():
    assert decided([version(1, "champion")], "degraded", fresh=Fresh(why="other labels", cannot=True)).adapt
    assert not decided([version(1, "champion")], "degraded", fresh=Fresh(why="the same rows")).adapt


def test_of_several_conditions_one_is_enough_and_all_reasons_to_keep_are_told():
    champion = version(1, "champion", day=30)
    kept = decided([champion], "changed", "stale")
    assert not kept.adapt and kept.why == "nothing changed since v1; v1 is 1 day old, max_age is 30"
    assert decided([champion], "changed", "always").why == "asked for (always)"
