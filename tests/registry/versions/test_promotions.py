"""Promoting, rolling back and what is known of it afterwards, on a database and on a server alike."""

from __future__ import annotations

import getpass
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.registry import Promotion


@pytest.fixture
def three(either, make):
    """Versions 1 to 3 of intent; 1 is its champion."""
    for seed in (1, 2, 3):
        either.register(make(seed=seed), alias="champion" if seed == 1 else None, by="run", reason="first run")
    return either


def test_who_promoted_what_when_and_why(three):
    before = datetime.now(UTC)
    evidence = {"gain": 0.02, "interval": [0.01, 0.03], "by": {"test": "McNemar"}}
    moved = three.promote("intent", 2, by="ci@build", reason="+2 on dev", evidence=evidence)
    assert timedelta(seconds=-1) < datetime.fromisoformat(moved.at) - before < timedelta(minutes=5)
    assert moved == Promotion("intent", "champion", 2, 1, moved.at, "ci@build", "+2 on dev", evidence)
    assert three.resolve("intent").version == 2
    first = three.promote("intent", 3, "challenger")
    assert first.previous is None and first.by == f"{getpass.getuser()}@{socket.gethostname()}"
    history = three.history("intent")
    assert history[:2] == [first, moved] and len(history) == 3
    assert (history[2].version, history[2].previous, history[2].by, history[2].reason) == (1, None, "run", "first run")
    assert three.aliases() == {"intent": 2} and three.aliases("challenger") == {"intent": 3}


def test_a_promotion_is_tags_on_the_version_and_files_of_a_run(three, tmp_path):
    moved = three.promote("intent", 2, reason="why", evidence={"rows": ["x" * 30_000]})
    tags = three.show("intent@v2").tags
    (record,) = (json.loads(value) for key, value in tags.items() if key.startswith("deepprompt.promotion."))
    said = {"task": "intent", "alias": "champion", "version": 2, "previous": 1, "at": moved.at, "by": moved.by}
    assert said.items() <= record.items() and (record["reason"], record["kind"]) == ("why", "promote")
    with three.connection.open() as client:
        files = {
            name: json.loads(Path(client.download_artifacts(record["run_id"], name, str(tmp_path))).read_bytes())
            for name in ("promotion.json", "evidence.json")
        }
        assert client.get_run(record["run_id"]).info.status == "FINISHED"
    assert files["promotion.json"]["version"] == 2 and files["promotion.json"]["at"] == moved.at
    assert files["evidence.json"] == moved.evidence == three.history("intent")[0].evidence


def test_going_back_goes_back(three):
    three.promote("intent", 2)
    three.promote("intent", 3)
    back = three.rollback("intent", by="me@here", reason="wrong labels")
    assert (back.version, back.previous, back.kind, back.by, back.reason) == (
        2,
        3,
        "rollback",
        "me@here",
        "wrong labels",
    )
    assert three.rollback("intent").version == 1 and three.aliases() == {"intent": 1}
    with pytest.raises(InputError, match="no version before this one"):
        three.rollback("intent")
    assert three.aliases() == {"intent": 1}
    assert [move.kind for move in three.history("intent")] == ["rollback"] * 2 + ["promote"] * 3


def test_what_is_not_as_expected_is_told_and_nothing_changes(three):
    three.promote("intent", 2, by="ada@lab", reason="better", expected=1)
    before = three.history("intent")
    for believed in (1, None):
        with pytest.raises(InputError, match="champion was moved meanwhile") as told:
            three.promote("intent", 3, expected=believed)
        assert "found version 2" in told.value.message and "ada@lab made it version 2 at" in told.value.message
        assert "(better)" in told.value.message
    assert three.history("intent") == before and three.aliases() == {"intent": 2}
    assert not [key for key in three.show("intent@v3").tags if "promotion" in key]
    assert three.promote("intent", 3, "challenger", expected=None).version == 3


def test_an_alias_moved_by_other_means_is_believed(three):
    name = three.resolve("intent").name
    with three.connection.open() as client:
        client.set_registered_model_alias(name, "champion", "3")
    assert three.aliases() == {"intent": 3}
    with pytest.raises(InputError, match="moved by other means than deepprompt"):
        three.promote("intent", 2, expected=1)
    assert three.promote("intent", 2, expected=3).previous == 3
    assert three.rollback("intent").version == 3


def test_registering_again_decides_nothing(three, make):
    before = three.history("intent")
    again = three.register(make(seed=1), by="someone else")
    assert (again.version, again.created) == (1, False) and three.history("intent") == before


def test_other_tasks_and_the_log_itself_stay_out_of_it(three, make):
    three.register(make("slots"), by="run")
    three.promote("intent", 2)
    assert [listed.task for listed in three.list()] == ["intent", "slots"]
    assert three.aliases() == {"intent": 2, "slots": 1}
    assert {move.task for move in three.history("slots")} == {"slots"}
    with pytest.raises(InputError, match="no such task"):
        three.history("slits")


def test_two_versions_side_by_side(three, make):
    longer = make(seed=9, lengths=(6,), metrics={"dev": {"accuracy": 0.8}}, training={"steps": 300}, data={})
    three.register(longer, alias="challenger")
    found = three.diff("intent", "intent@challenger")
    assert (found.a, found.b) == ("intent@v1", "intent@v4")
    different = {(line.part, line.key): (line.a, line.b) for line in found.different}
    assert different["metrics", "dev.accuracy"] == (0.75, 0.8)
    assert found.part("metrics")["dev.accuracy"].change == pytest.approx(0.05)
    assert different["metrics", "test.accuracy"] == (0.5, None)
    assert different["settings", "steps"] == (200, 300)
    assert different["sizes", "lengths"] == ("4", "6")
    assert {key for part, key in different if part == "data"} == {"train", "dev", "test"}
    assert not {"backbone", "lineage", "task"} & {part for part, _ in different}
    assert {"backbone", "lineage", "task"} <= {line.part for line in found.lines}
    assert not three.diff("intent", "intent@v1").different
