"""Files that are no config, and those that are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.config.test_config import GOOD, problems
from workflows.config import load as config_module
from workflows.config.load import load_config

FILES = {
    "empty": (b"", ["the file is empty"]),
    "comment only": (b"# nothing\n", ["the file is empty"]),
    "list": (b"- a\n- b\n", ["not a mapping", "found list"]),
    "text": (b"hello\n", ["not a mapping", "found str"]),
    "broken": (b"name: desk\ntasks: [a, b\nseed: 1\n", ["run.yaml:3:", "not valid YAML"]),
    "tab": (b"name: desk\n\tseed: 1\n", ["run.yaml:2:1", "not valid YAML"]),
    "two documents": (b"name: a\n---\nname: b\n", ["not valid YAML"]),
    "not UTF-8": (b"name: desk\nseed: 1 # \xff\n", ["run.yaml:2", "not UTF-8", "0xff"]),
    "control character": (b"name: a\x00b\n", ["not valid YAML"]),
    "key twice": (b"name: a\nseed: 1\nname: b\n", ["run.yaml:3", "'name' is here twice", "first on line 1"]),
    "key is a list": (b"[a]: 1\n", ["run.yaml:1", "a key must be text"]),
    "contains itself": (b"name: &x [*x]\n", ["run.yaml:1", "contains itself"]),
    "unknown tag": (b"name: !!python/object:os.system x\n", ["not valid YAML"]),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_gives_one_clear_error(tmp_path, case):
    content, fragments = FILES[case]
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    (message,) = problems(file)
    for fragment in fragments:
        assert fragment in message


def test_a_missing_file_and_a_folder(tmp_path):
    (tmp_path / "demo.yaml").write_text(GOOD)
    (message,) = problems(tmp_path / "demi.yaml")
    assert "there is no such config" in message
    assert "demo.yaml" in message.partition("did you mean")[2]
    assert "this is a folder" in problems(tmp_path)[0]


def test_ready_configs_are_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(GOOD)
    monkeypatch.setattr(config_module, "_READY", tmp_path)
    assert load_config("tiny").name == "desk"
    assert "did you mean 'tiny'?" in problems(Path("tinny"))[0]


@pytest.mark.parametrize("name", config_module.ready_configs())
def test_ready_configs_are_sound(name):
    assert load_config(name).tasks
