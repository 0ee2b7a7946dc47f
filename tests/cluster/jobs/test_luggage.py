"""What must not leave a machine does not, and what is of no use elsewhere stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.jobs.luggage import look_through
from pipeline.errors import InputError, InputErrors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    (place / "train.jsonl").write_text("{}\n")
    return place


def put(folder: Path, name: str, text: str = "x") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    "name",
    [
        *(
            ".env",
            ".env.production",
            "prod.env",
            "server.pem",
            "deploy.key",
            "id_rsa",
            "ID_ED25519",
            ".netrc",
            ".npmrc",
        ),
        *("credentials.json", "aws-credentials.json", "my-service-account.json", "client_secret_1.json", "auth_token"),
        *(".git-credentials", "deep/inside/.pypirc", ".aws/config", ".ssh/config", ".kube/config", "store.p12"),
    ],
)
def test_secrets_are_refused_by_name(folder: Path, name: str) -> None:
    put(folder, name)
    with pytest.raises(InputError, match=r"must not travel.*take it out of the folder") as caught:
        look_through(folder)
    assert str(folder / name).startswith(str(caught.value.where))


def test_every_secret_is_told_at_once(folder: Path) -> None:
    put(folder, ".env")
    put(folder, "sub/server.pem")
    with pytest.raises(InputErrors) as caught:
        look_through(folder)
    assert {Path(str(problem.where)).name for problem in caught.value.problems} == {".env", "server.pem"}


def test_a_private_key_is_known_whatever_it_is_called(folder: Path) -> None:
    put(folder, "notes.txt", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc")
    with pytest.raises(InputError, match=r"notes\.txt"):
        look_through(folder)


def test_a_link_to_a_secret_is_one(folder: Path, tmp_path: Path) -> None:
    (folder / "dev.jsonl").symlink_to(put(tmp_path, "id_rsa"))
    with pytest.raises(InputError, match=r"dev\.jsonl"):
        look_through(folder)


def test_what_looks_alike_travels(folder: Path) -> None:
    names = ["id_rsa.pub", ".env.example", "keyboard.jsonl", "environment.csv", "tokenizer.json", "tokens.jsonl"]
    for name in names:
        put(folder, name)
    assert {str(file) for file in look_through(folder).files} == {"train.jsonl", *names}


def test_what_only_this_machine_needs_stays_behind(folder: Path) -> None:
    for name in (".git/config", "__pycache__/a.pyc", ".gitignore", "node_modules/a/b.js", ".rayignore"):
        put(folder, name)
    put(folder, "myenv/pyvenv.cfg")  # a virtual environment by another name, with what would be a secret elsewhere
    put(folder, "myenv/lib/certifi/cacert.pem")
    found = look_through(folder)
    assert [str(file) for file in found.files] == ["train.jsonl"]
    assert {str(one) for one in found.left_out} == {
        *(".git", "__pycache__", ".gitignore", "node_modules", "myenv", ".rayignore")
    }
    assert found.bytes == 3


def test_links_to_folders_stay_and_links_to_files_are_the_files(folder: Path, tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/a.jsonl", "1234")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "test.jsonl").symlink_to(tmp_path / "elsewhere" / "a.jsonl")
    found = look_through(folder)
    assert [str(file) for file in found.files] == ["test.jsonl", "train.jsonl"] and found.bytes == 7
