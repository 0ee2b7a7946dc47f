"""What is special about a server: passwords, rights, and artifacts that are fetched instead of read in place."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import InputError
from pipeline.registry import Parent, PromptRegistry, load_artifact
from tests.registry.made import backbone_of, make_shared


@pytest.mark.parametrize("password", [None, "wrong-password"])
def test_a_wrong_password_is_told_with_what_to_set(served, monkeypatch, password):
    for name, value in (("MLFLOW_TRACKING_USERNAME", "admin"), ("MLFLOW_TRACKING_PASSWORD", password)):
        if password is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as told:
        PromptRegistry(served.uri).check()
    assert "wrong-password" not in told.value.message


def test_an_artifact_is_fetched_once_and_checked_each_time(on_server, make, monkeypatch):
    import mlflow.artifacts

    fetch, fetched = mlflow.artifacts.download_artifacts, []
    monkeypatch.setattr(
        mlflow.artifacts, "download_artifacts", lambda **named: (fetched.append(named), fetch(**named))[1]
    )
    folder = make()
    on_server.register(folder)
    kept = on_server.get("intent")
    assert on_server.get("intent@v1") == kept == on_server.show("intent").folder and len(fetched) == 1
    for file in folder.iterdir():
        assert (kept / file.name).read_bytes() == file.read_bytes()
    (kept / "head.safetensors").write_bytes(b"spoilt")
    assert load_artifact(on_server.get("intent")).manifest == load_artifact(folder).manifest and len(fetched) == 2


def test_another_artifact_than_was_registered_is_refused(on_server, make):
    on_server.register(make())
    with on_server.connection.open() as client:
        client.set_model_version_tag(on_server.resolve("intent").name, "1", "deepprompt.fingerprint", "0" * 64)
    with pytest.raises(InputError, match="was registered as another artifact"):
        on_server.get("intent")


def test_where_a_prompt_comes_from_is_told_by_the_server_alone(on_server, make, tmp_path):
    shared = make_shared(tmp_path / "shared", backbone_of("bert"), tasks=("intent", "slots"))
    on_server.register(tmp_path / "shared")
    single = on_server.register(make(seed=1, parents=(_parent(shared),)))
    winner = load_artifact(on_server.get("intent"))
    both = make(seed=2, parents=(_parent(shared), _parent(winner)), lengths=(2, 6), combine="mean")
    on_server.register(both, alias="ensemble")
    shown = on_server.show("intent@ensemble")
    assert [(one.name, one.version, one.tasks) for one in shown.lineage] == [
        ("shared-prompt", 1, ("intent", "slots")),
        ("intent", single.version, ("intent",)),
    ]
    assert shown.tags["deepprompt.members"] == "2" and shown.tags["deepprompt.shared_prompt"] == "shared-prompt@v1"
    assert json.loads(shown.tags["deepprompt.parents"]) == [[one.name, one.fingerprint] for one in shown.lineage]


def _parent(artifact):
    manifest = artifact.manifest
    return Parent(kind=manifest.kind, name=manifest.name, fingerprint=manifest.fingerprint)


def test_who_may_only_read_changes_nothing_and_is_told(on_server, served, make, monkeypatch):
    from mlflow.server.auth.client import AuthServiceClient

    on_server.register(make(seed=1), alias=None)
    AuthServiceClient(served.uri).create_user("reader", "only-reads-this-1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "only-reads-this-1")
    reader = PromptRegistry(served.uri, on_server.prefix)
    assert reader.get("intent@latest").is_dir()
    with pytest.raises(InputError, match="ask the server's administrator for EDIT"):
        reader.promote("intent", 1)
    assert reader.history("intent") == [] and reader.aliases() == {}


def test_the_commands_work_by_address_alone(on_server, make, capsys):
    from workflows.cli.app import main

    for seed in (1, 2):
        on_server.register(make(seed=seed), alias="champion" if seed == 1 else None)
    where = ["--registry", on_server.uri, "--prefix", on_server.prefix]
    assert main(["registry", "promote", "intent@v2", "--reason", "tried", *where]) == 0
    assert capsys.readouterr().out == "intent@champion is version 2, it was 1\n"
    assert main(["registry", "rollback", "intent", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert main(["registry", "history", "intent", *where]) == 0
    assert "tried" in capsys.readouterr().out
