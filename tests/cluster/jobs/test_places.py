"""How a job comes by each folder: it travels, it is there, it is shared, it is at a URI, or the job is not sent."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
import yaml
from configs import write_run

from cluster.jobs import parcel, places
from cluster.jobs.places import find_places, version_of
from pipeline.errors import InputError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text("0123456789")
    return folder


def test_a_small_folder_travels_once_however_many_name_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LIMIT", 15)
    found = find_places([("the data of a", "data"), ("the data of b", str(data))], data.parent)
    assert [(place.how, place.bytes) for place in found] == [("sent", 10), ("sent", 10)]
    assert found[0].words == "travels with the job"


def test_a_folder_that_is_not_here_is_the_clusters(tmp_path: Path) -> None:
    (place,) = find_places([("the data of a", "/on/the/cluster")], tmp_path)
    assert place.how == "there" and "must have it under this path" in place.words


def test_a_shared_folder_stays_and_its_content_still_names_the_job(data: Path) -> None:
    (place,) = find_places([("the data of a", "data")], data.parent, [data.parent])
    assert place.how == "shared" and "every node must see it" in place.words
    before = version_of(place)
    assert version_of(place) == before != ""
    (data / "train.jsonl").write_text("0123456780")
    assert version_of(place) != before


def test_a_large_shared_file_is_known_by_its_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WHOLE", 5)
    (place,) = find_places([("the data of a", "data")], data.parent, [data.parent])
    before = version_of(place)
    os.utime(data / "train.jsonl", ns=(1, 1))
    assert version_of(place) != before


def test_too_much_is_refused_with_the_largest_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LIMIT", 9)
    with pytest.raises(InputError, match=rf"{data}.*too large to travel.*--shared FOLDER.*s3://"):
        find_places([("the data of a", "data")], data.parent)


def test_too_much_on_a_networks_storage_is_taken_to_be_shared(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LIMIT", 9)
    monkeypatch.setattr(places, "_file_system", lambda path: "nfs4")
    (place,) = find_places([("the data of a", "data")], data.parent)
    assert place.how == "shared" and "nfs4" in str(place.note)
    monkeypatch.setattr(places, "LIMIT", 10)
    (place,) = find_places([("the data of a", "data")], data.parent)
    assert place.how == "sent"  # what is small enough travels: that is safer than to believe in a mount


def test_a_uri_is_read_there_and_its_version_names_the_job() -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/places/train.jsonl", b"one")
    (place,) = find_places([("the data of a", "memory://places")], Path())
    assert (place.how, place.note) == ("uri", None)
    before = version_of(place)
    files.pipe("/places/train.jsonl", b"another")
    assert version_of(place) != before
    (gone,) = find_places([("the data of a", "memory://no-such-place")], Path())
    assert "cannot be read from here: no such data folder" in str(gone.note)


def test_an_unknown_kind_of_uri_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 's3'"):
        find_places([("the data of a", "s33://bucket/x")], Path())


def test_a_parcel_follows_its_places(tmp_path: Path) -> None:
    config = write_run(tmp_path)
    (tmp_path / "parcel").mkdir()
    packed = parcel.pack(config, tmp_path / "parcel", shared=[tmp_path / "data"])
    sent = yaml.safe_load(packed.config.read_text())
    assert sent["tasks"][0]["data"]["path"] == str(tmp_path / "data" / "intent")
    assert not (tmp_path / "parcel" / "sent").exists()
    assert [place.how for place in packed.places] == ["shared", "there"]
    assert parcel.versions_of(packed.places)[0] != ""


def test_changes_to_a_config_travel_with_it(tmp_path: Path) -> None:
    config = write_run(tmp_path)
    changed = parcel.read_config(config) | {"seed": 7}
    (tmp_path / "parcel").mkdir()
    sent = yaml.safe_load(parcel.pack(config, tmp_path / "parcel", config=changed).config.read_text())
    assert sent["seed"] == 7 and sent["tasks"][0]["data"]["path"] == "./sent/0/intent"
    assert changed["tasks"][0]["data"]["path"] == "data/intent"  # the caller's own is not written to


def test_what_git_ignores_in_a_data_folder_travels_all_the_same(tmp_path: Path) -> None:
    """Ray leaves out what a .gitignore names, data too; so the .gitignore itself stays behind."""
    config = write_run(tmp_path)
    (tmp_path / "data" / "intent" / ".gitignore").write_text("*.jsonl\n")
    (tmp_path / "parcel").mkdir()
    parcel.pack(config, tmp_path / "parcel")
    assert [file.name for file in (tmp_path / "parcel" / "sent" / "0" / "intent").iterdir()] == ["train.jsonl"]
