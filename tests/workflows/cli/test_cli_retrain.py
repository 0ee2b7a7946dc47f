"""`deepprompt retrain` on the command line: what it refuses, what it prints, how it ends."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tests.workflows.retrain.desk import make_desk
from workflows.cli.app import main
from workflows.cli.retrain import print_retraining
from workflows.retrain.lease import Lease
from workflows.retrain.retrain import lease_folder
from workflows.retrain.summary import RetrainRow, RetrainSummary


@pytest.fixture(autouse=True)
def own_log(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--if", "chnged"], "--if: no such choice; found chnged; expected changed, stale, degraded, always; did you"),
        (["--as-of", "yesterday"], "--as-of: this is not a date; found yesterday; expected like 2026-01-31"),
        (["--overlap", "alow"], "--overlap: no such choice; found alow; expected forbid, queue, replace"),
        (["--set", "retrain.conditions=[often]"], "expected one or several of changed, stale, degraded, always"),
        (["--set", "gate.max_loss=-1"], "gate.max_loss: this value does not fit; found -1; expected at least 0"),
        (["--set", "tasks.intent.gate={split: test}"], "unknown key"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(tmp_path, capsys, arguments, told):
    file = make_desk(tmp_path)
    assert main(["retrain", str(file), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and told in err
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_prints_decisions_and_leaves_no_trace(tmp_path, capsys):
    file = make_desk(tmp_path)
    (tmp_path / "data/things/train.jsonl").write_text('{"tokens": ["a"], "tags": []}\n')
    command = ["retrain", str(file), "--dry-run", "--as-of", "2026-03-01", "--if", "changed", "--if", "stale"]
    assert main([*command, "--json"]) == 3  # one task's rows are unsound; the other would be adapted
    found = json.loads(capsys.readouterr().out)
    assert found["conditions"] == ["changed", "stale"] and found["as_of"] == "2026-03-01" and found["dry_run"]
    assert [(row["task"], row["decision"], row["outcome"]) for row in found["rows"]] == [
        ("intent", "adapt", "would adapt"),
        ("things", "fail", "failed"),
    ]
    assert main(command) == 3
    out = capsys.readouterr().out
    assert "intent  adapt" in out and "it has no champion yet" in out and "things: failed:" in out
    assert f"nothing was changed (--dry-run); next: deepprompt retrain {file}" in out
    assert {path.name for path in (tmp_path / "runs").iterdir()} <= {".cache", "desk.retrain.log"}


def test_overlap_is_refused_and_named(tmp_path, capsys):
    from workflows.config.load import load_config

    file = make_desk(tmp_path)
    with Lease(lease_folder(load_config(file)), 60, "2026-03-01").held("forbid", print):
        assert main(["retrain", str(file)]) == 2
    assert "a retraining of this config is going on already" in capsys.readouterr().err


def test_the_table_says_what_happened_and_what_to_type():
    rows = (
        RetrainRow("a", "adapt", "changed since v1: code", 1, 2, 0.0312, (0.0101, 0.0523), "promoted", "fine"),
        RetrainRow("b", "adapt", "asked for", 3, 4, 0.001, (-0.03, 0.03), "challenger", "not sure"),
        RetrainRow("c", "adapt", "asked for", 3, 4, -0.1, (-0.2, -0.05), "rejected", "worse"),
        RetrainRow("d", "adapt", "asked for", 3, outcome="failed", told="adapt/d: unlucky"),
        RetrainRow("e", "keep", "nothing changed since v7", 7),
    )
    summary = RetrainSummary("desk", "2026-03-01", ("changed",), False, "key", None, 1, rows, 61.0)
    assert summary.exit_code == 3
    stream = io.StringIO()
    print_retraining(summary, "my desk.yaml", Console(file=stream, width=240))
    lines = stream.getvalue().splitlines()
    by_task = {line.split()[0]: line.rstrip() for line in lines if line[:1] in "abcde" and line[1:2] == " "}
    assert "v1" in by_task["a"] and "v2" in by_task["a"] and "+0.031 [+0.010, +0.052]" in by_task["a"]
    assert by_task["a"].endswith("deepprompt registry history a --config 'my desk.yaml'")
    assert by_task["b"].endswith("deepprompt registry promote b@v4 --config 'my desk.yaml'")
    assert by_task["c"].endswith("deepprompt registry diff c@v3 c@v4 --config 'my desk.yaml'")
    assert by_task["d"].endswith("deepprompt retrain 'my desk.yaml'") and by_task["e"].endswith("-")
    assert "d: failed: adapt/d: unlucky" in lines
