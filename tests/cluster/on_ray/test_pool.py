"""A pool gives the same outcomes in one process and on Ray, and on Ray it survives its workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import works

from cluster import Launcher, Outcome, WorkFailed, make_launcher
from pipeline.errors import InputError


@pytest.fixture(params=["inline", "ray"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launcher]:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    with make_launcher(request.param, log_file=tmp_path / "log.txt") as made:
        assert made.name == request.param
        yield made


@pytest.fixture
def ray_launcher(ray_cluster: None, tmp_path: Path) -> Iterator[Launcher]:
    with make_launcher("ray", log_file=tmp_path / "log.txt") as made:
        yield made


def silent(event: Any) -> None:
    pass


def folders(tmp_path: Path, count: int) -> list[Path]:
    return [tmp_path / f"payload{index}" for index in range(count)]


def test_outcomes_keep_their_order_and_errors_stay_with_their_payload(launcher: Launcher, tmp_path: Path) -> None:
    heard: list[Outcome] = []
    events: list[Any] = []
    marks = tmp_path / "marks"
    marks.mkdir()
    payloads = [{"x": x, "how": how} for x, how in enumerate([None, "input", None, "broken", None, None])]
    common = {"base": 10, "marks": str(marks)}
    with launcher.pool(works.setup, common, workers=2, on_event=events.append) as pool:
        outcomes = pool.map(works.add, payloads, folders=folders(tmp_path, 6), on_done=heard.append)
        again = pool.map(works.add, [{"x": 1}], folders=folders(tmp_path, 1))
        assert pool.map(works.add, [], folders=[]) == []

    assert [outcome.index for outcome in outcomes] == list(range(6))
    assert [outcome.value for outcome in outcomes] == [10, None, 12, None, 14, 15]
    assert sorted(outcome.index for outcome in heard) == list(range(6))
    assert again == [Outcome(0, value=11)]

    mistake, bug = outcomes[1].error, outcomes[3].error
    assert type(mistake) is InputError
    assert (mistake.where, mistake.found, mistake.nearest) == ("tasks[0].columns", "txt", "text")
    assert isinstance(bug, WorkFailed)
    assert (bug.kind, bug.reason, bug.passing) == ("TypeError", "the code is wrong here", False)
    assert "works.py" in bug.trace

    assert sorted(event["task"] for event in events) == [0, 1, 2, 4, 5]
    assert all(event["total"] == 1 for event in events)
    processes = [mark.name.split("-")[0] for mark in marks.iterdir()]
    assert len(processes) == len(set(processes)) <= (1 if launcher.name == "inline" else 2)


def test_a_setup_that_refuses_is_told_as_it_is(launcher: Launcher, tmp_path: Path) -> None:
    with (
        launcher.pool(works.setup, {"base": 1, "refuses": True}, workers=2, on_event=silent) as pool,
        pytest.raises(InputError, match=r"backbone.model: no such folder; .* did you mean 'minilm'"),
    ):
        pool.map(works.add, [{"x": 1}, {"x": 2}], folders=folders(tmp_path, 2))


def test_folders_must_match_payloads(launcher: Launcher, tmp_path: Path) -> None:
    with launcher.pool(works.setup, {"base": 1}, workers=1, on_event=silent) as pool, pytest.raises(ValueError):
        pool.map(works.add, [{"x": 1}], folders=folders(tmp_path, 2))


def test_a_dead_worker_is_replaced_and_goes_on_from_its_checkpoint(ray_launcher: Launcher, tmp_path: Path) -> None:
    events: list[Any] = []
    with ray_launcher.pool(works.setup, {"base": 0}, workers=1, on_event=events.append) as pool:
        outcomes = pool.map(works.count_to_six, [{}], folders=folders(tmp_path, 1))
    assert outcomes == [Outcome(0, value=[5, 6])]
    assert any("died" in str(event.get("note")) for event in events)
    kept = sorted(path.name for path in (tmp_path / "payload0" / "checkpoints").iterdir())
    assert kept == ["00000005", "00000006"]


def test_a_payload_that_always_kills_its_worker_fails_alone(ray_launcher: Launcher, tmp_path: Path) -> None:
    payloads: list[dict[str, Any]] = [{"x": 0, "how": "dies"}, {"x": 1}, {"x": 2, "how": "unpicklable"}]
    with ray_launcher.pool(works.setup, {"base": 0}, workers=2, on_event=silent) as pool:
        dead, fine, unsendable = pool.map(works.add, payloads, folders=folders(tmp_path, 3))
    assert isinstance(dead.error, WorkFailed)
    assert dead.error.kind == "WorkerDied"
    assert "3 times" in str(dead.error)
    assert fine.value == 1
    assert isinstance(unsendable.error, WorkFailed)
    assert "pickle" in str(unsendable.error)


def test_a_long_payload_does_not_hold_up_the_others(ray_launcher: Launcher, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    # The first waits for what the last leaves: with payloads dealt out beforehand this would never end.
    payloads: list[dict[str, Any]] = [{"x": x} for x in range(6)]
    payloads[0] |= {"how": "waits", "until": str(flag)}
    payloads[5] |= {"leaves": str(flag)}
    finished: list[int] = []
    with ray_launcher.pool(works.setup, {"base": 0}, workers=2, on_event=silent) as pool:
        outcomes = pool.map(
            works.add, payloads, folders=folders(tmp_path, 6), on_done=lambda outcome: finished.append(outcome.index)
        )
    assert [outcome.value for outcome in outcomes] == list(range(6))
    assert finished == [1, 2, 3, 4, 5, 0]


def test_a_setup_that_kills_its_process_is_given_up(ray_launcher: Launcher, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    common = {"base": 0, "dies": True, "marks": str(marks)}
    with (
        ray_launcher.pool(works.setup, common, workers=1, on_event=silent) as pool,
        pytest.raises(WorkFailed, match="WorkerDied"),
    ):
        pool.map(works.add, [{"x": 1}], folders=folders(tmp_path, 1))
    assert len(list(marks.iterdir())) == 3
