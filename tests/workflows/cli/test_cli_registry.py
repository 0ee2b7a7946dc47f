"""`deepprompt registry` on a database: what it prints, what it prints for programs, and how it refuses."""

from __future__ import annotations

import json

import pytest

from pipeline.registry import PromptRegistry
from tests.once import empty_registry
from tests.registry.made import INTENT, backbone_of, make_artifact
from workflows.cli.app import main


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A database with versions 1 to 3 of intent; 1 is its champion."""
    folder = tmp_path_factory.mktemp("registered")
    registry = PromptRegistry(empty_registry(folder))
    for seed in (1, 2, 3):
        make_artifact(folder / f"a{seed}", backbone_of("bert"), seed=seed, **INTENT)
        registry.register(folder / f"a{seed}", alias="champion" if seed == 1 else None)
    return registry.uri


@pytest.fixture
def call(address, capsys, tmp_path, monkeypatch):
    """Runs `deepprompt registry …` and returns exit code, stdout and stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*arguments):
        capsys.readouterr()
        code = main(["registry", *arguments, "--registry", address])
        return (code, *capsys.readouterr())

    return call


def test_promoting_and_going_back(call, tmp_path):
    (tmp_path / "gate.json").write_text('{"gain": 0.02}')
    code, out, err = call("promote", "intent@v2", "--reason", "+2 on dev", "--evidence", str(tmp_path / "gate.json"))
    assert (code, out) == (0, "intent@champion is version 2, it was 1\n")
    assert err == "to take it back: deepprompt registry rollback intent\n"
    code, out, _ = call("promote", "intent@v3", "--by", "ada@lab", "--expected", "v2", "--json")
    assert code == 0 and {"version": 3, "previous": 2, "by": "ada@lab"}.items() <= json.loads(out).items()
    code, out, err = call("promote", "intent@v2", "--expected", "2")
    assert code == 2 and out == "" and "ada@lab made it version 3" in err
    code, out, err = call("rollback", "intent", "--reason", "wrong labels")
    assert (code, out) == (0, "intent@champion is version 2, it was 3\n")
    assert err == "to take it back: deepprompt registry promote intent@v3\n"
    _, out, _ = call("history", "intent", "--json")
    moves = json.loads(out)
    assert [(move["version"], move["kind"]) for move in moves] == [
        (2, "rollback"), (3, "promote"), (2, "promote"), (1, "promote"),
    ]  # fmt: skip
    assert moves[2]["evidence"] == {"gain": 0.02}
    code, out, err = call("history", "intent")
    assert code == 0 and err == ""
    assert out.splitlines()[0].split() == ["at", "alias", "version", "from", "how", "by", "reason", "evidence"]
    assert "wrong labels" in out.splitlines()[1] and "gain" in out
    _, out, _ = call("show", "intent")
    assert "+2 on dev" in out and json.loads(call("show", "intent", "--json")[1])["promoted"][0]["kind"] == "rollback"


def test_an_alias_that_left_its_history_is_noted(call, address):
    assert call("promote", "intent@v1", "--alias", "fallback")[0] == 0
    registry = PromptRegistry(address)
    with registry.connection.open() as client:
        client.set_registered_model_alias("deepprompt.intent", "fallback", "3")
    _, _, err = call("history", "intent")
    assert "note: fallback points to version 3: it was moved by other means" in err


def test_what_differs(call):
    code, out, _ = call("diff", "intent@v1", "intent@v1")
    assert (code, out) == (0, "intent@v1 and intent@v1 are the same\n")
    code, out, _ = call("diff", "intent@v1", "intent@v2", "--all")
    assert code == 0 and "accuracy" in out and "learning_rate" in out
    lines = json.loads(call("diff", "intent@v1", "intent@v2", "--all", "--json")[1])["lines"]
    assert {"metrics", "settings", "data", "backbone", "lineage", "sizes"} <= {line["part"] for line in lines}
    assert all(line["same"] == (line["a"] == line["b"]) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "intent@v9"], "no such version; found v9"),
        (["promote", "intent@v1", "--alias", "latest"], "cannot be an alias"),
        (["promote", "intent@v1", "--expected", "two"], "--expected: this is no version; found two"),
        (["promote", "intent@v1", "--evidence", "gone.json"], "gone.json: the file cannot be read"),
        (["rollback", "intnt"], "did you mean 'intent'?"),
        (["rollback", "intent", "--alias", "challenger"], "no such alias"),
        (["history", "intnt"], "did you mean 'intent'?"),
        (["diff", "intent", "slots"], "no such task; found slots"),
    ],
)
def test_mistakes_are_told(call, arguments, said):
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and said in err and "Traceback" not in err
