"""The doctor says what is wrong with a machine and what to do; here with machines that are made up."""

from __future__ import annotations

import importlib.util
import shutil
import socket

import pytest

from pipeline.errors import InputError
from workflows.config.settings import Config
from workflows.doctor import checks as doctor_checks
from workflows.doctor.checks import CHECKS, GIGABYTE, Finding, Patient
from workflows.doctor.examine import as_rows, as_table, compile_ahead, examine, healthy
from workflows.doctor.preflight import check_disk, check_tracking
from workflows.words import amount


def config(**changes) -> Config:
    tasks = [{"name": "a", "type": "token", "data": {"demo": "slots"}}]
    return Config.model_validate({"name": "desk", "tasks": tasks, **changes})


@pytest.fixture
def missing(monkeypatch):
    """Makes modules or programs look absent."""
    real_spec, real_which = importlib.util.find_spec, shutil.which

    def hide(*names):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: None if name in names else real_spec(name, *a)
        )
        monkeypatch.setattr(shutil, "which", lambda name, *a, **k: None if name in names else real_which(name, *a, **k))

    return hide


@pytest.fixture
def silent_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]  # closed again: nothing answers there


def test_every_check_finds_something_on_this_machine():
    findings = examine(Patient())
    assert list(findings) == list(CHECKS)
    assert all(finding.found for finding in findings.values())
    assert {row["check"] for row in as_rows(findings)} == set(CHECKS)
    assert as_table(findings).row_count == len(CHECKS)


def test_without_a_compiler_sharding_falls_back_unless_the_config_insists(missing):
    missing("g++")
    finding = CHECKS["compiler"](Patient())
    assert finding.status == "warn"
    assert "g++" in finding.found
    assert "build-essential" in finding.advice
    insists = Patient(config(backbone={"sharding": "zero3"}))
    assert CHECKS["compiler"](insists).status == "fail"


def test_without_ninja_or_deepspeed(missing):
    missing("ninja", "deepspeed")
    assert "ninja" in CHECKS["compiler"](Patient()).advice
    finding = CHECKS["deepspeed"](Patient())
    assert (finding.status, finding.advice) == ("warn", "pip install deepspeed")
    with pytest.raises(InputError, match="ninja"):
        compile_ahead()


def test_a_broken_deepspeed_is_found_when_asked_to_look_deeper(monkeypatch):
    def broken(name):
        raise RuntimeError("no CUDA_HOME")

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert "no CUDA_HOME" in CHECKS["deepspeed"](Patient(deep=True)).found


@pytest.mark.parametrize(("free", "status"), [(0.5, "fail"), (2, "warn"), (16, "ok")])
def test_memory(monkeypatch, free, status):
    monkeypatch.setattr(doctor_checks, "available_memory", lambda: int(free * GIGABYTE))
    assert CHECKS["memory"](Patient()).status == status


def test_ray_that_is_not_there(missing, silent_port, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for address in (f"http://127.0.0.1:{silent_port}", f"127.0.0.1:{silent_port}", f"ray://127.0.0.1:{silent_port}"):
        finding = CHECKS["ray"](Patient(address=address))
        assert finding.status == "fail"
        assert "does not answer" in finding.found
    missing("ray")
    assert CHECKS["ray"](Patient()).status == "fail"
    assert CHECKS["ray"](Patient(config(launcher="inline"))).status == "ok"


def test_ray_that_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert CHECKS["ray"](Patient(address=f"127.0.0.1:{server.getsockname()[1]}")).status == "ok"


def test_a_silent_tracking_uri_fails(silent_port):
    patient = Patient(config(registry={"uri": f"http://127.0.0.1:{silent_port}"}))
    finding = CHECKS["mlflow"](patient)
    assert finding.status == "fail"
    assert "does not answer" in finding.found
    assert "sqlite:///mlflow.db" in finding.advice


def test_a_backbone_that_is_not_there_fails(tmp_path):
    finding = CHECKS["backbone"](Patient(config(backbone={"model": str(tmp_path / "none")})))
    assert finding.status == "fail"


def test_a_check_that_breaks_has_failed_and_the_others_go_on(monkeypatch):
    def breaks(patient):
        raise OSError("no /proc here")

    monkeypatch.setitem(CHECKS, "memory", breaks)
    findings = examine(Patient())
    assert findings["memory"] == Finding("fail", "OSError: no /proc here")
    assert findings["mlflow"].found
    assert not healthy(findings)


def test_warnings_are_healthy():
    assert healthy({"a": Finding("ok", ""), "b": Finding("warn", "")})
    assert not healthy({"a": Finding("fail", "")})


def test_tracking_uris(tmp_path, silent_port):
    assert "will be made" in check_tracking(f"sqlite:///{tmp_path}/new/mlflow.db")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        check_tracking(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(InputError, match="does not answer"):
        check_tracking(f"postgresql://user:secret@127.0.0.1:{silent_port}/db")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "answers" in check_tracking(f"mysql://user@127.0.0.1:{server.getsockname()[1]}/db")


def test_disks(tmp_path):
    assert check_disk(tmp_path / "not" / "yet", 1) > 0
    with pytest.raises(InputError, match="not enough room"):
        check_disk(tmp_path, 10**18)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a folder"):
        check_disk(tmp_path / "file" / "runs", 1)


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 B"), (3100, "3.1 kB"), (4_500_000, "4.5 MB"), (1.4e9, "1.4 GB"), (5e13, "50000.0 GB")]
)
def test_amounts(size, text):
    assert amount(size) == text
