"""An artifact that is not exactly what was written is refused, with the file, what was found and what was expected."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pipeline.errors import InputError
from pipeline.registry import load_artifact
from tests.registry.made import SAME, backbone_of, make_artifact, rewrite_manifest

FILES = ("prompt.safetensors", "head.safetensors", "manifest.json")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "artifact"
    make_artifact(folder, backbone_of("bert"), **SAME)
    return folder


@pytest.fixture
def artifact(sound, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "artifact"))


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_changed_byte(sound, tmp_path_factory, name, data):
    folder = Path(shutil.copytree(sound, tmp_path_factory.mktemp("spoilt") / "a"))
    content = bytearray((folder / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 2))] ^= 1  # the manifest ends with a newline that means nothing
    (folder / name).write_bytes(content)
    with pytest.raises(InputError) as told:
        load_artifact(folder)
    assert name in told.value.message


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(artifact, name):
    (artifact / name).unlink()
    with pytest.raises(InputError, match=f"{name}: a file of the artifact cannot be read"):
        load_artifact(artifact)


@pytest.mark.parametrize("name", FILES[:2])
def test_a_cut_file(artifact, name):
    content = (artifact / name).read_bytes()
    (artifact / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="was changed"):
        load_artifact(artifact)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="there is no artifact folder"):
        load_artifact(tmp_path / "nowhere")


def other(value):
    """A value of the same kind that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    if isinstance(value, list):
        return value[1:] if len(value) > 1 else []
    if isinstance(value, dict):
        key = next(iter(value), None)
        return {"x": "y"} if key is None else {**value, key: other(value[key])}
    return 1


def test_every_field_of_the_manifest_is_sealed(sound, tmp_path):
    plain = json.loads((sound / "manifest.json").read_text())
    folder = Path(shutil.copytree(sound, tmp_path / "a"))
    for field in plain:
        spoilt = {**plain, field: other(plain[field])}
        assert spoilt != plain
        (folder / "manifest.json").write_text(json.dumps(spoilt))
        with pytest.raises(InputError, match=r"manifest\.json"):
            load_artifact(folder)
        (folder / "manifest.json").write_text(json.dumps({k: v for k, v in plain.items() if k != field}))
        with pytest.raises(InputError, match=r"manifest\.json"):
            load_artifact(folder)


@pytest.mark.parametrize(("version", "said"), [(5, "newer deepprompt"), (0, "unknown format"), ("1", "unknown format")])
def test_another_format_version(artifact, version, said):
    rewrite_manifest(artifact, lambda plain: plain.update(format_version=version, new_field="of that format"))
    with pytest.raises(InputError, match=said):
        load_artifact(artifact)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"format_version": NaN}'])
def test_a_manifest_that_is_none(artifact, text):
    (artifact / "manifest.json").write_bytes(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_artifact(artifact)


def test_an_unknown_field_names_the_nearest(artifact):
    rewrite_manifest(artifact, lambda plain: plain.update(poolin="mean"))
    with pytest.raises(InputError, match="did you mean 'pooling'"):
        load_artifact(artifact)


def rewrite_tensors(folder, name, change):
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)
    rewrite_manifest(folder, lambda plain: None)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("head.safetensors", lambda t: t.update(extra=torch.zeros(1)), "not the tensors expected"),
        ("head.safetensors", lambda t: t.pop("bias.1"), "not the tensors expected"),
        ("head.safetensors", lambda t: t.update({"weight.0": t["weight.0"].T.contiguous()}), "another shape"),
        ("head.safetensors", lambda t: t.update({"weight.0": t["weight.0"].half()}), "another shape"),
        ("prompt.safetensors", lambda t: t.update({"prompt.0": t["prompt.0"][:1].clone()}), "another shape"),
        ("prompt.safetensors", lambda t: t["prompt.0"].fill_(float("inf")), "not finite"),
    ],
)
def test_other_tensors_under_a_manifest_that_fits_them(artifact, name, change, said):
    rewrite_tensors(artifact, name, change)
    with pytest.raises(InputError, match=said) as told:
        load_artifact(artifact)
    assert name in told.value.message


def test_shapes_in_the_manifest_that_the_file_has_not(artifact):
    rewrite_manifest(artifact, lambda plain: plain.update(lengths=[3, 5]))
    with pytest.raises(InputError, match="another shape"):
        load_artifact(artifact)


def test_a_file_larger_than_its_shapes_is_not_even_read(artifact, monkeypatch):
    with (artifact / "head.safetensors").open("r+b") as file:
        file.truncate(1 << 40)
    read = Path.read_bytes

    def watched(path):
        assert path.name != "head.safetensors"
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", watched)
    with pytest.raises(InputError, match="larger than the manifest implies"):
        load_artifact(artifact)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_opened(artifact, tmp_path):
    (artifact / "head.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    rewrite_manifest(artifact, lambda plain: None)
    with pytest.raises(InputError, match="does not hold tensors"):
        load_artifact(artifact)
    assert not (tmp_path / "sprung").exists()
