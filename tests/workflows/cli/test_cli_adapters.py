"""`deepprompt export` and `deepprompt import` on a database: what they print, what they register, how they refuse."""

from __future__ import annotations

import io
import json

import pytest

from pipeline.registry import PromptRegistry
from tests.registry.made import INTENT, make_artifact
from tests.registry.peft.adapters import backbone_at, base_of, peft_model
from workflows.cli.app import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A database with a champion, and an adapter of PEFT's own."""
    folder = tmp_path_factory.mktemp("adapters")
    registry = PromptRegistry(f"sqlite:///{folder}/mlflow.db")
    make_artifact(folder / "intent", backbone_at(base_of("bert")), **INTENT)
    registry.register(folder / "intent")
    peft_model(base_of("bert"), "SEQ_CLS", "prefix").save_pretrained(folder / "theirs")
    return folder


@pytest.fixture
def call(place, capsys, tmp_path, monkeypatch):
    """Runs `deepprompt …` on the database and returns exit code, stdout and stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*arguments):
        capsys.readouterr()
        code = main([*map(str, arguments), "--registry", f"sqlite:///{place}/mlflow.db"])
        return (code, *capsys.readouterr())

    return call


def test_an_adapter_is_imported_shown_answered_with_and_promoted(call, place, monkeypatch):
    code, out, err = call("import", place / "theirs", "--task", "mood", "--labels", "bad, fair,good")
    assert code == 0 and out.splitlines()[1].split()[:6] == ["mood", "1", "classification", "prefix", "4", "shifted"]
    assert "next: deepprompt registry promote mood@v1" in err
    code, _, err = call("registry", "show", "mood")
    assert code == 2 and "no such alias" in err  # it is nobody's champion unless somebody says so
    code, out, _ = call("registry", "show", "mood@v1", "--json")
    shown = json.loads(out)
    assert code == 0 and shown["manifest"]["origin"]["format"] == "peft"
    assert set(shown["manifest"]["origin"]["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert call("registry", "promote", "mood@v1")[0] == 0
    rows = [
        {"task": task, "text": text}
        for text in ("refund", "my order is late, please cancel")
        for task in ("mood", "intent")
    ]
    lines = "\n".join(map(json.dumps, rows)).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    code, out, _ = call("predict")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [answer["task"] for answer in answers] == ["mood", "intent"] * 2
    assert list(answers[0]["scores"]) == ["bad", "fair", "good"]


def test_a_champion_is_exported_and_comes_back(call, place, tmp_path):
    code, out, err = call("export", "intent", tmp_path / "out", "--to", "peft")
    assert code == 0 and "a PREFIX_TUNING adapter of 4 places, for TOKEN_CLS" in out
    assert "adapter_model.safetensors" in out and "position_ids" in err and "mean of a row" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "deepprompt.json", "head.safetensors",
    }  # fmt: skip
    code, out, _ = call("export", place / "intent", tmp_path / "again", "--json")  # by its folder
    assert code == 0 and json.loads(out)["positions"] == "own"
    code, out, _ = call("import", tmp_path / "out", "--task", "back", "--alias", "champion", "--json")
    assert code == 0 and json.loads(out)["manifest"]["parents"][0]["name"] == "intent"
    assert call("registry", "show", "back")[0] == 0
    code, _, err = call("import", tmp_path / "out", "--task", "back")
    assert code == 0 and "the same artifact was registered before" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "intnt", "out"], "did you mean 'intent'?"),
        (["export", "intent", "out", "--to", "pef"], "--to: unknown format; found pef; expected peft; did you mean"),
        (["export", "intent", "out", "--member", "2"], "no such member"),
        (["import", "out"], "there is no such folder"),
        (["import", "theirs"], "--labels: PEFT does not keep what a head's outputs stand for"),
        (["import", "theirs", "--task", "a", "--labels", "[1, 2]"], "not a list of texts"),
        (["import", "theirs", "--task", "a", "--labels", '["a"'], "--labels: the labels are not JSON"),
    ],
)
def test_mistakes_are_told(call, place, arguments, said, monkeypatch):
    monkeypatch.chdir(place)
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and said in err and "Traceback" not in err
    assert not (place / "out").exists()
