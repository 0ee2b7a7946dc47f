"""A group: ranks that see each other, checkpoints that outlive accidents, errors that keep their kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import works

from cluster import WorkFailed, make_launcher
from cluster.on_ray.retry import lasting
from cluster.on_ray.snapshot import RECORD, mend_snapshot, remember_snapshot
from pipeline.errors import InputError


def test_inline_is_one_rank_that_resumes(tmp_path: Path) -> None:
    events: list[Any] = []
    where: dict[str, Any] = {"workers": 2, "folder": tmp_path, "name": "toy", "on_event": events.append}
    with make_launcher("inline", log_file=tmp_path / "log.txt") as launcher:
        first = launcher.group(works.train, {"accidents": False}, **where)
        second = launcher.group(works.train, {"accidents": False}, **where)
        with pytest.raises(WorkFailed, match="KeyError: 'x'") as caught:
            launcher.group(works.fails, {"key": "x"}, **where)
    assert first == {"start": 0, "size": 1, "sum": 1.0, "rank": 0}
    assert second["start"] == 8
    assert [event["done"] for event in events] == list(range(1, 9))
    assert isinstance(caught.value.__cause__, KeyError)


def test_ray_survives_a_lost_rank_and_tells_the_mistake_of_another(ray_cluster: None, tmp_path: Path) -> None:
    """Two fits. In the first rank 1 dies after step 3 (Ray restarts from step 2), then raises at step 5."""
    events: list[Any] = []
    where: dict[str, Any] = {"workers": 2, "folder": tmp_path / "stage", "name": "toy", "on_event": events.append}
    with make_launcher("ray", log_file=tmp_path / "log.txt") as launcher:
        with pytest.raises(InputError) as caught:
            launcher.group(works.train, {"accidents": True}, **where)
        assert type(caught.value) is InputError
        assert (caught.value.where, caught.value.nearest) == ("dev.jsonl:5", "music")
        assert [event["done"] for event in events] == [1, 2, 3, 3, 4, 5]  # rank 0 only; restarted once, not after 5

        # The second driver finds the record torn, as when the first was killed while Ray wrote it.
        record = tmp_path / "stage" / "toy" / RECORD
        record.write_text(record.read_text()[:100])
        events.clear()
        result = launcher.group(works.train, {"accidents": False}, **where)
    assert result == {"start": 4, "size": 2, "sum": 3.0, "rank": 0}
    assert [event["done"] for event in events] == [5, 6, 7, 8]
    kept = sorted(path.name[:8] for path in record.parent.iterdir() if path.is_dir())
    assert kept == ["00000006", "00000008"]


def record_of(*checkpoints: str) -> str:
    return json.dumps({"checkpoint_results": [{"checkpoint_dir_name": name} for name in checkpoints]})


@pytest.mark.parametrize("broken", ["", "{", '{"checkpoint_results": [{"checkpoint_dir_name": "gone"}]}', "[]"])
def test_a_torn_record_is_mended_from_its_copy(tmp_path: Path, broken: str) -> None:
    (tmp_path / "00000002").mkdir()
    record = tmp_path / RECORD
    record.write_text(record_of("00000002"))
    remember_snapshot(tmp_path)
    mend_snapshot(tmp_path)
    assert record.read_text() == record_of("00000002")

    record.write_text(broken)
    remember_snapshot(tmp_path)  # must not replace the good copy
    mend_snapshot(tmp_path)
    assert record.read_text() == record_of("00000002")

    record.write_text(broken)
    (tmp_path / "00000002").rmdir()  # the copy is no better
    mend_snapshot(tmp_path)
    assert not record.exists()


def lost() -> Exception:
    from ray.exceptions import ActorDiedError

    error: Exception = ActorDiedError()
    return error


def test_only_what_may_end_differently_is_tried_again() -> None:
    mistake, bug, peer = InputError("no"), WorkFailed.of(TypeError("x")), WorkFailed.of(RuntimeError("peer"))
    assert lasting([mistake])
    assert lasting([peer, mistake])
    assert lasting([bug])
    assert lasting([peer, bug])
    assert not lasting([peer])
    assert not lasting([bug, lost()])
    assert not lasting([lost()])
    assert not lasting([])
