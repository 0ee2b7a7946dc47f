"""The registry keeps artifacts as versions: once each, found by alias, and given back as they were."""

from __future__ import annotations

import json
import logging
import os
import shutil

import pytest

from pipeline.errors import InputError
from pipeline.registry import Parent, PromptRegistry, Registered, load_artifact
from tests.registry.made import SLOTS, backbone_of, make_shared


def test_opening_a_new_database_prints_nothing(opened):
    assert opened.printed == ""
    assert opened.registry.connection.database.is_file()


def test_the_process_is_left_as_it_was(registry, make, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    mlflow.set_tracking_uri("http://somewhere.invalid")
    folder = make()
    before, handlers = dict(os.environ), logging.getLogger("mlflow").handlers
    try:
        registry.register(folder)
        assert mlflow.get_tracking_uri() == "http://somewhere.invalid"
        assert dict(os.environ) == before and logging.getLogger("mlflow").handlers == handlers
    finally:
        mlflow.set_tracking_uri(None)


def test_the_same_artifact_is_registered_once(registry, make, tmp_path):
    first = registry.register(make(seed=1))
    assert first == Registered("intent", f"{registry.prefix}.intent", 1, created=True)
    shutil.copytree(make(seed=1), tmp_path / "elsewhere")
    assert registry.register(tmp_path / "elsewhere") == Registered("intent", first.name, 1, created=False)
    assert registry.register(make(seed=2)).version == 2
    (listed,) = registry.list()
    assert listed.versions == 2 and listed.aliases == {"champion": 2}


def test_an_alias_moves_when_asked(registry, make):
    registry.register(make(seed=1))
    registry.register(make(seed=2), alias=None)
    registry.register(make(seed=3), alias="challenger")
    meant = {"": 1, "@champion": 1, "@challenger": 3, "@latest": 3, "@v2": 2, "@2": 2}
    assert {at: registry.resolve(f"intent{at}").version for at in meant} == meant
    assert registry.promote("intent", 2).previous == 1
    assert registry.resolve("intent").version == 2
    assert registry.promote("intent", 2, alias="fallback").previous is None
    assert registry.show("intent").aliases == ("champion", "fallback")


def test_what_comes_back_is_what_went_in(registry, make, tmp_path):
    folder = make("slots", **{k: v for k, v in SLOTS.items() if k != "name"})
    registry.register(folder)
    for got in (registry.get("slots"), registry.get("slots@v1", into=tmp_path / "copy")):
        assert load_artifact(got).manifest == load_artifact(folder).manifest
        for file in folder.iterdir():
            assert (got / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(InputError, match="something already"):
        registry.get("slots", into=tmp_path / "copy")


def test_an_artifact_spoilt_in_the_registry_is_not_given_back(registry, make, tmp_path):
    registry.register(make())
    path = registry.get("intent") / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for call in (registry.get, registry.show, lambda ref: registry.get(ref, into=tmp_path / "copy")):
        with pytest.raises(InputError, match=r"head\.safetensors: the file was changed"):
            call("intent")
    assert not (tmp_path / "copy").exists()


def test_a_version_tells_its_figures_and_where_it_comes_from(registry, make, tmp_path):
    shared = make_shared(tmp_path / "shared", backbone_of("bert"))
    parent = Parent(kind="shared", name="shared-prompt", fingerprint=shared.manifest.fingerprint)
    assert registry.register(tmp_path / "shared").name == f"{registry.prefix}.shared-prompt"
    registry.register(make(parents=(parent,)))
    shown = registry.show("intent")
    manifest = load_artifact(tmp_path / "intent-0").manifest
    assert shown.manifest == manifest and shown.manifest.metrics["test"] == {"accuracy": 0.5}
    assert set(shown.files) == {"prompt.safetensors", "head.safetensors", "manifest.json"}
    assert [(one.name, one.version) for one in shown.lineage] == [("shared-prompt", 1)]
    about_moves = {key for key in shown.tags if key.startswith(("deepprompt.promotion.", "deepprompt.last_asked"))}
    assert len(about_moves) == 2
    assert {key: value for key, value in shown.tags.items() if key not in about_moves} == {
        "deepprompt.fingerprint": manifest.fingerprint,
        "deepprompt.kind": "task",
        "deepprompt.backbone": manifest.backbone.name,
        "deepprompt.backbone_revision": "local",
        "deepprompt.backbone_fingerprint": backbone_of("bert").info.fingerprint,
        "deepprompt.shared_prompt": "shared-prompt@v1",
        "deepprompt.parents": json.dumps([["shared-prompt", shared.manifest.fingerprint]]),
        "deepprompt.tasks": "intent",
        "deepprompt.members": "1",
        **{f"deepprompt.data.{split}": sha256 for split, sha256 in manifest.data.items()},
        "deepprompt.metric.dev.accuracy": "0.75",
        "deepprompt.metric.test.accuracy": "0.5",
    }
    assert [listed.task for listed in registry.list()] == ["intent", "shared-prompt"]


def test_the_backbone_is_not_in_the_registry(registry, make):
    registry.register(make())
    model = registry.get("intent").parent.parent
    assert sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) < 100_000
    assert not [path for path in model.rglob("*") if path.suffix in (".pkl", ".bin", ".pt")]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("intnt", "no such task; found intnt; expected intent; did you mean 'intent'?"),
        ("intent@champoin", "no such alias; found champoin; expected champion, v1; did you mean 'champion'?"),
        ("intent@v7", "no such version; found v7; expected champion, v1"),
        ("intent@", "no such alias"),
        ("@champion", "no such task"),
        ("in'tent", "no such task"),
        ("in/tent", "no such task"),
    ],
)
def test_what_the_registry_does_not_have(registry, make, reference, said):
    registry.register(make())
    for call in (registry.resolve, registry.get, registry.show):
        with pytest.raises(InputError) as told:
            call(reference)
        assert said in told.value.message


def test_an_empty_registry(registry):
    assert registry.list() == ()
    with pytest.raises(InputError, match="nothing is registered yet"):
        registry.resolve("intent")


@pytest.mark.parametrize("alias", ["latest", "v3", "3", "a b", "", "a/b"])
def test_what_cannot_be_an_alias(registry, make, alias):
    with pytest.raises(InputError, match="cannot be an alias"):
        registry.register(make(), alias=alias)
    with pytest.raises(InputError, match="cannot be an alias"):
        registry.promote("intent", 1, alias=alias)


def test_promoting_what_is_not_there(registry, make):
    registry.register(make())
    with pytest.raises(InputError, match="no such version"):
        registry.promote("intent", 2)
    with pytest.raises(InputError, match="no such task"):
        registry.promote("slots", 1)


def test_a_prefix_is_not_a_pattern(opened, make):
    one, other = PromptRegistry(opened.registry.uri, prefix="a_b"), PromptRegistry(opened.registry.uri, prefix="axb")
    other.register(make())
    assert one.list() == () and len(other.list()) == 1
    with pytest.raises(InputError, match="cannot begin a model's name"):
        PromptRegistry(opened.registry.uri, prefix="a/b")
