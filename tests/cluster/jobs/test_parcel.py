"""What a job takes along, and the name that makes the same run the same job."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from configs import write_run

from cluster.jobs import parcel, places
from pipeline.errors import InputError, InputErrors


def named(config: Path, tmp_path: Path, tag: str, parts: tuple[str, ...] = ("run", "v1")) -> str:
    folder = tmp_path / f"parcel-{tag}"
    folder.mkdir()
    parcel.pack(config, folder)
    return parcel.submission_name(folder, "my run", parts)


def test_local_folders_travel_and_the_config_follows_them(tmp_path: Path) -> None:
    backbone = tmp_path / "home" / "tiny"
    backbone.mkdir(parents=True)
    (backbone / "config.json").write_text("{}")
    folder = tmp_path / "parcel"
    folder.mkdir()
    config = write_run(tmp_path / "home", backbone={"model": "./tiny"})
    sent = yaml.safe_load(parcel.pack(config, folder).config.read_text())
    first, second, third = (task["data"] for task in sent["tasks"])
    assert (folder / first["path"] / "train.jsonl").read_text() == '{"text": "a", "label": "b"}\n'
    assert second == {"path": "/on/the/cluster"}
    assert third == {"hub": "google/boolq"}
    assert (folder / sent["backbone"]["model"] / "config.json").is_file()
    assert sent["storage"] == "/shared/runs"


def test_folders_too_large_to_travel_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LIMIT", 10)
    with pytest.raises(InputError, match=r"data/intent: .*too large to travel.*--shared FOLDER"):
        parcel.pack(write_run(tmp_path), tmp_path)


def test_the_name_depends_on_content_alone(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    name = named(write_run(here), tmp_path, "1")
    assert name.startswith("my-run-")
    assert named(write_run(there), tmp_path, "2") == name
    assert named(write_run(there), tmp_path, "3", ("run", "v2")) != name
    (there / "data" / "intent" / "train.jsonl").write_text('{"text": "a", "label": "c"}\n')
    assert named(there / "demo.yaml", tmp_path, "4") != name
    assert named(write_run(here, seed=1), tmp_path, "5") != name


def test_results_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    config = parcel.read_config(write_run(tmp_path))
    parcel.check_lasting(config, [], "demo.yaml")
    bare = {"name": "x"}
    with pytest.raises(InputErrors) as caught:
        parcel.check_lasting(bare, [], "demo.yaml")
    assert [problem.where for problem in caught.value.problems] == ["demo.yaml: storage", "demo.yaml: registry.uri"]
    arguments = ["--set", "storage=/shared", "--set", "registry.uri=sqlite:////shared/mlflow.db"]
    parcel.check_lasting(bare, arguments, "demo.yaml")
    parcel.check_lasting({"storage": "/s", "registry": None}, [], "demo.yaml")
    with pytest.raises(InputError, match="storage"):
        parcel.check_lasting(config, ["--set", "storage=runs"], "demo.yaml")


@pytest.mark.parametrize("text", ["- a list", "a: [", ""])
def test_a_file_that_is_no_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        parcel.read_config(tmp_path / "bad.yaml")


def test_our_packages_are_found() -> None:
    assert [Path(folder).name for folder in parcel.packages()] == list(parcel.PACKAGES)
