"""The command line: exit codes, one clear error on stderr, results on stdout, no traceback ever."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import InputError
from workflows.cli import app as cli
from workflows.cli import console
from workflows.cli import doctor as cli_doctor
from workflows.cli import predict as cli_predict
from workflows.cli import report as cli_report
from workflows.cli import run as cli_run
from workflows.cli.app import main
from workflows.cli.console import LoggedError, silence_libraries
from workflows.cli.predict import read_rows

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def own_log(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def command(monkeypatch):
    """A command that does what a test wants."""

    def make(action):
        app = cli.typer.Typer()

        @app.callback()
        def group() -> None: ...

        app.command("act")(action)
        monkeypatch.setattr(cli, "app", app)
        return lambda: main(["act"])

    return make


def test_wrong_config_exits_with_2_and_names_the_line(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("name: desk\nbakbone: {}\ntasks: [{name: a, type: token, data: {demo: slots}}]\n")
    for command in ("plan", "run", "status", "report"):
        assert main([command, str(file)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert "run.yaml:2: bakbone: unknown key" in err
        assert "did you mean 'backbone'?" in err


def test_several_mistakes_are_counted(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("name: desk\nlauncher: rai\nseed: x\ntasks: [{name: a, type: token, data: {demo: slots}}]\n")
    assert main(["plan", str(file)]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "error: 2 problems"


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["rnu", "demo"], "Did you mean 'run'?"),
        (["registry", "shw"], "Did you mean 'show'?"),
        (["run", "demo", "--lancher", "ray"], "did you mean '--launcher'?"),
        (["run", "demo", "--launcher", "rai"], "did you mean 'ray'?"),
        (["run"], "Missing argument 'CONFIG'"),
        (["plan", "no-such"], "there is no such config"),
        (["plan", "no-such.yaml", "--json"], "there is no such config"),
        (["submit", "demo"], "no cluster is named"),
        ([], "a command is missing"),
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments, fragment, capsys):
    assert main(arguments) == 2
    assert fragment in capsys.readouterr().err


def test_help_and_version_exit_with_0(capsys):
    assert main(["--help"]) == 0
    assert main(["run", "--help"]) == 0
    assert "CONFIG" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("deepprompt ")


def test_an_input_error_exits_with_2(command, capsys):
    def action() -> None:
        raise InputError("no", where="here", found=1, expected=2)

    assert command(action)() == 2
    assert capsys.readouterr().err == "error: here: no; found 1; expected 2\n"


def test_a_commands_number_is_the_exit_code(command):
    assert command(lambda: 3)() == 3


def test_an_unexpected_error_exits_with_1_and_its_traceback_is_in_the_log(command, capsys, tmp_path):
    def action() -> None:
        raise ZeroDivisionError("by nothing")

    assert command(action)() == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: by nothing" in err
    assert "Traceback" not in err
    log = tmp_path / "cache" / "deepprompt" / "deepprompt.log"
    assert str(log) in err
    assert "Traceback" in log.read_text()


def test_a_full_disk_is_told_as_such(command, capsys):
    def action() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert command(action)() == 2
    assert "no space is left on the disk" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_exits_with_130(command, capsys, number, request):
    # Whoever starts the tests in the background has them ignore Ctrl-C.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def action() -> None:
        os.kill(os.getpid(), number)
        signal.pause()

    before = signal.getsignal(signal.SIGTERM)
    assert command(action)() == 130
    assert "stopped" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_console_script_ends_quietly_when_nobody_reads(tmp_path):
    """`deepprompt … | head` must not end in a complaint."""
    code = "import sys; from workflows.cli.app import main; sys.exit(main(['--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


def test_starting_the_command_line_imports_nothing_heavy():
    heavy = ("torch", "ray", "deepspeed", "mlflow", "transformers", "datasets")
    code = f"import sys, workflows.cli.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_prints_its_summary_and_ends_with_its_exit_code(tmp_path, monkeypatch, capsys):
    from workflows import run as run_module
    from workflows.summary import RunSummary

    file = tmp_path / "run.yaml"
    file.write_text(f"name: desk\nstorage: {tmp_path}\ntasks: [{{name: a, type: token, data: {{demo: slots}}}}]\n")
    asked = {}

    def fake(config, *, address, on_event, log_file):
        asked.update(launcher=config.launcher, address=address, log_file=log_file)
        print("a library talks")
        on_event({"stage": "adapt", "task": "a", "done": 1, "total": 1})
        return RunSummary("desk", str(tmp_path), (), {"a": "broken"}, 1.0, {}, "sqlite:///x.db", "deepprompt")

    monkeypatch.setattr(run_module, "run", fake)
    assert main(["run", str(file), "--launcher", "inline", "--address", "there:1", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["failed"] == {"a": "broken"}
    assert "adapt/a" in err
    assert str(asked["log_file"]) in err
    assert asked["launcher"] == "inline"
    assert asked["address"] == "there:1"
    assert "a library talks" in asked["log_file"].read_text()
    assert main(["run", str(file)]) == 1
    assert "failed: a: broken" in capsys.readouterr().out


def test_report_says_how_to_get_one(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(f"name: desk\nstorage: {tmp_path}\ntasks: [{{name: a, type: token, data: {{demo: slots}}}}]\n")
    assert main(["report", str(file)]) == 2
    assert "deepprompt run" in capsys.readouterr().err


def test_doctor_reports_as_json(monkeypatch, capsys):
    from workflows.doctor import checks as doctor_checks
    from workflows.doctor.checks import Finding

    monkeypatch.setattr(doctor_checks, "CHECKS", {})
    from workflows.doctor import examine as doctor

    monkeypatch.setattr(doctor, "CHECKS", {"a": lambda _: Finding("ok", "fine"), "b": lambda _: Finding("warn", "hm")})
    assert main(["doctor", "--json"]) == 0
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["ok", "warn"]
    monkeypatch.setattr(doctor, "CHECKS", {"a": lambda _: Finding("fail", "[bad]", "mend it")})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "[bad]" in out
    assert "mend it" in out


def test_rows_name_their_task_or_take_the_commands():
    rows = read_rows([b'{"text": "x"}\n', b"\n", b'{"text": "y", "task": "b@v2"}'], "a")
    assert [row["task"] for row in rows] == ["a", "b@v2"]


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        (b'{"text": "x"', ["stdin:2", "not JSON"]),
        (b'{"text": "\xff"}', ["stdin:2", "not UTF-8", "0xff"]),
        (b'["x"]', ["stdin:2", "not a JSON object"]),
        (b'{"text": "x", "tsk": "a"}', ["stdin:2", "names no task", "did you mean 'task'?"]),
        (b'{"text": "x", "task": 3}', ["stdin:2", "the task is not text"]),
    ],
)
def test_a_broken_row_is_named(line, fragments):
    with pytest.raises(InputError) as caught:
        read_rows([b'{"text": "x", "task": "a"}', line], None)
    for fragment in fragments:
        assert fragment in caught.value.message


def test_broken_rows_end_predict_before_the_registry_is_asked(monkeypatch, capsys, tmp_path):
    import io

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{\n")))
    assert main(["predict", "a", "--registry", f"sqlite:///{tmp_path}/none.db"]) == 2
    assert "stdin:1" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


def test_libraries_talk_to_the_log_only(tmp_path, capfd):
    log = tmp_path / "deep" / "run.log"
    with silence_libraries(log) as streams:
        print("by print")
        os.write(2, b"by descriptor\n")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
        print("result", file=streams.out)
        print("progress", file=streams.err)
    print("afterwards")
    out, err = capfd.readouterr()
    assert (out, err) == ("result\nafterwards\n", "progress\n")
    text = log.read_text()
    for line in ("by print", "by descriptor", "by a child"):
        assert line in text


def test_an_error_among_libraries_is_logged_with_the_workers_own_traceback(tmp_path):
    class Remote(Exception):
        trace = "Traceback of the worker"

    with pytest.raises(LoggedError) as caught, silence_libraries(tmp_path / "run.log"):
        raise Remote("broke")
    assert str(caught.value) == "Remote: broke"
    assert "Traceback of the worker" in (tmp_path / "run.log").read_text()


def test_mistakes_and_interruptions_pass_through_the_log(tmp_path):
    for error in (InputError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), silence_libraries(tmp_path / "run.log"):
            raise error


def test_a_log_that_cannot_be_written_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="log file cannot be written"),
        silence_libraries(tmp_path / "file" / "run.log"),
    ):
        pass


def test_every_command_is_wired():
    assert {cli_run.plan, cli_run.run, cli_run.status, cli_report.report, cli_predict.predict, cli_doctor.doctor} <= {
        registered.callback for registered in cli.app.registered_commands
    }
    assert console.default_log_file().name == "deepprompt.log"
