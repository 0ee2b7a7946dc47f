"""Task data at a URI: the same rows as in a folder, fetched once a version, told by where they come from."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import InputError
from pipeline.tasks import DataSource, TaskSpec, load_task
from pipeline.tasks.data.remote import remote_version

ROWS = {split: [{"text": f"{split} {n}", "label": "ab"[n % 2]} for n in range(4)] for split in ("train", "dev", "test")}


def put(uri: str, **changes: list[dict[str, str]]) -> None:
    files, root = fsspec.core.url_to_fs(uri)
    files.makedirs(root, exist_ok=True)
    for split, rows in (ROWS | changes).items():
        files.pipe(f"{root}/{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    files.pipe(f"{root}/notes.md", b"not a split")


def spec(uri: str) -> TaskSpec:
    return TaskSpec("one", "classification", DataSource(path=uri))


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_rows_at_a_uri_are_those_of_a_folder(kind: str, tmp_path: Path) -> None:
    uri = "memory://bucket/one" if kind == "memory" else f"file://{tmp_path}/there"
    put(uri)
    put(f"file://{tmp_path}/folder")
    there, here = (
        load_task(spec(uri), tmp_path / "cache"),
        load_task(spec(str(tmp_path / "folder")), tmp_path / "cache"),
    )
    assert there.fingerprints == here.fingerprints and there.labels == here.labels


def test_a_version_is_fetched_once_and_a_new_one_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    uri, fetched = "memory://bucket/versions", []
    get = MemoryFileSystem.get_file

    def counted(self, rpath, lpath, **more):
        fetched.append(rpath)
        return get(self, rpath, lpath, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    put(uri)
    first = load_task(spec(uri), tmp_path)
    assert sorted(name.rpartition("/")[2] for name in fetched) == ["dev.jsonl", "test.jsonl", "train.jsonl"]
    again = load_task(spec(uri), tmp_path)
    assert len(fetched) == 3 and again.fingerprints == first.fingerprints
    before = remote_version(uri)
    put(uri, train=[{"text": "new", "label": "a"}, {"text": "newer", "label": "b"}])
    assert remote_version(uri) != before
    assert load_task(spec(uri), tmp_path).fingerprints["train"] != first.fingerprints["train"]
    assert not list((tmp_path / "remote").glob("*.part"))


def test_a_bad_row_is_told_by_its_uri(tmp_path: Path) -> None:
    put("memory://bucket/bad", dev=[{"text": "no label"}])
    with pytest.raises(InputError, match=r"memory://bucket/bad/dev\.jsonl:1"):
        load_task(spec("memory://bucket/bad"), tmp_path)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("memory://bucket/nowhere", "no such data folder"),
        ("s33://bucket/one", "did you mean 's3'"),
        ("simplecache::memory://bucket/one", "cannot be read from such a URI"),
        ("ftp://127.0.0.1:1/one", r"cannot be read \("),
    ],
)
def test_what_cannot_be_read_is_told(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_task(spec(uri), tmp_path)


def test_a_protocol_whose_package_is_missing_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    def missing(uri, **more):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InputError, match="pip install s3fs"):
        load_task(spec("s3://bucket/one"), tmp_path)


def test_a_folder_without_splits_is_told_with_what_it_holds(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/bucket/empty/readme.txt", b"x")
    with pytest.raises(InputError, match=r"no data here; found readme\.txt"):
        load_task(spec("memory://bucket/empty"), tmp_path)


def test_a_fetch_that_breaks_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def breaks(self, rpath, lpath, **more):
        Path(lpath).write_text("half")
        raise ConnectionResetError("reset by peer")

    put("memory://bucket/breaks")
    monkeypatch.setattr(MemoryFileSystem, "get_file", breaks)
    with pytest.raises(InputError, match="ConnectionResetError: reset by peer"):
        load_task(spec("memory://bucket/breaks"), tmp_path)
    assert not list((tmp_path / "remote").iterdir())
    monkeypatch.undo()
    assert load_task(spec("memory://bucket/breaks"), tmp_path).labels == ("a", "b")
