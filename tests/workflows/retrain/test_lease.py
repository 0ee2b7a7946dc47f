"""The lease, with real processes: one at a time, the dead are followed by the living, the latest date goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import InputError
from workflows.retrain.lease import Lease, LeaseLost, Superseded

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, time
from pathlib import Path
from workflows.retrain.lease import Lease, Superseded
folder, seconds, as_of, overlap, hold, log = sys.argv[1:]
lease = Lease(Path(folder), float(seconds), as_of)
def tell(what):
    with open(log, "a") as file:
        file.write(f"{as_of} {what}\\n")
try:
    with lease.held(overlap, lambda note: tell("waits")):
        tell("begins")
        while not (Path(log).parent / hold).exists():
            time.sleep(0.02)
        lease.check()
        tell("ends")
except Superseded as later:
    tell(f"leaves it to {later}")
"""


class Desk:
    """Processes that want one lease, and what they tell."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "lease", folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, as_of: str, overlap: str = "forbid", hold: str = "never", seconds: float = 2):
        arguments = [str(self.folder), str(seconds), as_of, overlap, hold, str(self.log)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", HOLD, *arguments], env=environment, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    def told(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def until(self, line: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while line not in self.told():
            assert time.monotonic() < end, f"{line!r} was not told: {self.told()}"
            time.sleep(0.05)


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def lease_of(desk, as_of="2026-03-02", seconds=2.0):
    return Lease(desk.folder, seconds, as_of)


def test_a_second_one_is_refused_and_told_who_has_it(desk):
    holder = desk.start("2026-03-01")
    desk.until("2026-03-01 begins")
    time.sleep(2.5)  # longer than the silence that makes it dead: its heartbeat keeps it alive
    with (
        pytest.raises(InputError, match=rf"going on already.*process {holder.pid} on .*for 2026-03-01"),
        lease_of(desk).held("forbid", print),
    ):
        raise AssertionError("two hold the lease")
    assert holder.poll() is None


def test_who_dies_is_followed_after_its_silence_and_not_before(desk):
    holder = desk.start("2026-03-01")
    desk.until("2026-03-01 begins")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with pytest.raises(InputError, match="going on already"), lease_of(desk, seconds=60).held("forbid", print):
        raise AssertionError("nobody knows yet that it is dead")
    time.sleep(2.5)
    with lease_of(desk).held("forbid", print) as lease:
        lease.check()


def test_who_ends_is_followed_at_once(desk):
    for _ in range(3):
        with lease_of(desk, seconds=3600).held("forbid", print) as lease:
            lease.check()
    assert len(list(desk.folder.glob("*.lease"))) <= 2  # the old ones are swept away


def test_of_those_who_wait_only_the_one_with_the_latest_date_goes(desk):
    desk.start("2026-03-01", hold="go", seconds=20)
    desk.until("2026-03-01 begins")
    waiting = [desk.start(f"2026-03-0{day}", overlap="queue", hold="go on", seconds=20) for day in (3, 4, 2)]
    latest = waiting[1]
    for day in (2, 3, 4):
        desk.until(f"2026-03-0{day} waits")
    (desk.folder.parent / "go").touch()
    for process in waiting:
        if process is not latest:
            assert process.wait(60) == 0
    (desk.folder.parent / "go on").touch()
    assert latest.wait(60) == 0
    told = desk.told()
    assert told.index("2026-03-01 ends") < told.index("2026-03-04 begins") < told.index("2026-03-04 ends")
    for day in (2, 3):
        assert f"2026-03-0{day} begins" not in told and f"2026-03-0{day} leaves it to 2026-03-04" in told


def test_replacing_stops_the_holder_and_takes_its_place(desk):
    holder = desk.start("2026-03-01")
    desk.until("2026-03-01 begins")
    notes = []
    with lease_of(desk).held("replace", notes.append) as lease:
        lease.check()
        assert holder.wait(10) == -signal.SIGTERM
    assert len(notes) == 1 and notes[0].startswith(f"stopping process {holder.pid}")
    assert "2026-03-01 ends" not in desk.told()


def test_who_was_thought_dead_knows_that_it_has_lost(desk, monkeypatch):
    sleeper = lease_of(desk, seconds=1.0)
    monkeypatch.setattr(Lease, "_beat", lambda self, say: None)  # as if the machine were asleep
    with sleeper.held("forbid", print):
        sleeper.check()
        time.sleep(1.5)
        with lease_of(desk, seconds=1.0).held("forbid", print) as other, pytest.raises(LeaseLost, match="taken over"):
            other.check()
            sleeper.check()


def test_many_at_once_and_one_gets_it(desk):
    processes = [desk.start(f"2026-04-{day:02}", hold="go", seconds=60) for day in range(10, 15)]
    while sum(process.poll() is None for process in processes) > 1:
        time.sleep(0.05)
    assert len(desk.told()) == 1 and desk.told()[0].endswith("begins")
    (desk.folder.parent / "go").touch()
    assert sorted(process.wait(60) for process in processes) == [0, 1, 1, 1, 1]
    assert [line.split()[1] for line in desk.told()] == ["begins", "ends"]


def test_a_late_date_that_waits_is_known_to_an_early_one_that_comes(desk):
    lease = lease_of(desk, as_of="2026-03-05", seconds=60)
    desk.folder.mkdir()
    with lease._waiting("queue"), pytest.raises(Superseded, match="2026-03-05"), lease_of(desk).held("queue", print):
        raise AssertionError("the later one does the work of both")
