"""A stage is done or it is not; what was begun with other inputs is never continued."""

from __future__ import annotations

import json

import pytest

from workflows.stages.stage import Stage, Status, begin, commit, read_record, standing

STAGE = Stage("adapt/intent", {"steps": 10, "data": "abc"})


def test_from_nothing_to_done(tmp_path):
    assert standing(tmp_path, STAGE).status is Status.MISSING
    partial = begin(tmp_path, STAGE)
    (partial / "result").write_text("half")
    assert standing(tmp_path, STAGE).status is Status.INTERRUPTED
    assert not STAGE.folder(tmp_path).exists()
    commit(tmp_path, STAGE, {"rows": 3}, seconds=1.5)
    found = standing(tmp_path, STAGE)
    assert found.skipped and found.reason.startswith("unchanged since")
    assert (STAGE.folder(tmp_path) / "result").read_text() == "half" and not partial.exists()
    assert read_record(STAGE.folder(tmp_path) / "stage.json")["summary"] == {"rows": 3}


def test_an_interrupted_stage_continues_with_what_it_has(tmp_path):
    (begin(tmp_path, STAGE) / "checkpoint").write_text("kept")
    assert (begin(tmp_path, STAGE) / "checkpoint").read_text() == "kept"
    assert not (begin(tmp_path, STAGE, fresh=True) / "checkpoint").exists()


def test_work_begun_with_other_inputs_is_thrown_away(tmp_path):
    (begin(tmp_path, STAGE) / "checkpoint").write_text("of ten steps")
    other = Stage(STAGE.name, {"steps": 11, "data": "abc"})
    assert standing(tmp_path, other).status is Status.MISSING
    assert not (begin(tmp_path, other) / "checkpoint").exists()


def test_a_changed_input_is_named(tmp_path):
    begin(tmp_path, STAGE)
    commit(tmp_path, STAGE, {}, 0.0)
    found = standing(tmp_path, Stage(STAGE.name, {"steps": 11, "data": "abc"}))
    assert found.status is Status.CHANGED and found.reason == "changed: steps"


def test_a_new_result_replaces_the_old_one(tmp_path):
    for steps in (1, 2):
        stage = Stage(STAGE.name, {"steps": steps})
        (begin(tmp_path, stage) / "result").write_text(str(steps))
        commit(tmp_path, stage, {}, 0.0)
    assert (STAGE.folder(tmp_path) / "result").read_text() == "2"
    assert [path.name for path in (tmp_path / "adapt").iterdir()] == ["intent"]


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"fingerprint": "of something else"})])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path, content):
    STAGE.folder(tmp_path).mkdir(parents=True)
    (STAGE.folder(tmp_path) / "stage.json").write_text(content)
    assert not standing(tmp_path, STAGE).skipped


def test_the_order_of_inputs_does_not_matter():
    assert Stage("a", {"x": 1, "y": 2}).fingerprint == Stage("a", {"y": 2, "x": 1}).fingerprint
    assert Stage("a", {"x": 1}).fingerprint != Stage("a", {"x": 2}).fingerprint
