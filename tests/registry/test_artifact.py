"""What is saved is what is loaded, the same training gives the same artifact, and nothing half-written is ever seen."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.registry import Member, check_backbone, copy_artifact, load_artifact, save_artifact
from tests.registry.made import INTENT, SLOTS, backbone_of, facts_of, make_artifact, make_shared, members_of

BERT = "bert"


def same(one, other):
    return one.manifest == other.manifest and all(
        torch.equal(getattr(a, part), getattr(b, part))
        for a, b in zip(one.members, other.members, strict=True)
        for part in ("prompt", "weight", "bias")
    )


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), classes=st.integers(1, 6), seed=st.integers(0, 99))
def test_loaded_equals_saved_bit_for_bit(tmp_path_factory, lengths, classes, seed):
    folder = tmp_path_factory.mktemp("artifacts") / "one"
    backbone = backbone_of(BERT)
    labels = tuple(f"label {n}" for n in range(classes))
    members = members_of(backbone, labels, lengths, seed=seed)
    combine = "mean" if len(lengths) > 1 else None
    saved = save_artifact(folder, members, facts_of(backbone, labels=labels, combine=combine))
    loaded = load_artifact(folder)
    assert same(saved, loaded) and loaded.manifest.lengths == tuple(lengths)
    for member, given_member in zip(loaded.members, members, strict=True):
        assert torch.equal(member.prompt, given_member.prompt) and member.prompt.dtype == torch.float32
        assert torch.equal(member.weight, given_member.weight) and torch.equal(member.bias, given_member.bias)


def test_the_same_training_gives_the_same_files(tmp_path):
    one = make_artifact(tmp_path / "one", backbone_of(BERT), seed=3)
    make_artifact(tmp_path / "other", backbone_of(BERT), seed=3)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["head.safetensors", "manifest.json", "prompt.safetensors"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    other_numbers = make_artifact(tmp_path / "numbers", backbone_of(BERT), seed=4)
    other_facts = make_artifact(tmp_path / "facts", backbone_of(BERT), seed=3, training={"steps": 201})
    prints = {a.manifest.fingerprint for a in (one, other_numbers, other_facts)}
    assert len(prints) == 3


def test_members_that_share_storage_are_saved_as_they_are(tmp_path):
    backbone = backbone_of(BERT)
    (member,) = members_of(backbone, INTENT["labels"], (6,))
    cut = Member(member.prompt[:, :, :, :3], member.weight, member.bias)
    saved = save_artifact(tmp_path / "a", [member, cut], facts_of(backbone, combine="vote"))
    assert torch.equal(saved.members[1].prompt, member.prompt[:, :, :, :3])
    assert torch.equal(saved.members[0].weight, saved.members[1].weight)


def test_a_shared_prompt_has_no_head(tmp_path):
    artifact = make_shared(tmp_path / "shared", backbone_of(BERT))
    assert artifact.members[0].weight is None and artifact.manifest.task is None
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["manifest.json", "prompt.safetensors"]


def test_a_copy_takes_the_artifact_and_nothing_beside_it(tmp_path):
    artifact = make_artifact(tmp_path / "a", backbone_of(BERT))
    (tmp_path / "a" / "notes.pkl").write_bytes(b"not ours")
    assert same(copy_artifact(tmp_path / "a", tmp_path / "deep" / "b"), artifact)
    assert not (tmp_path / "deep" / "b" / "notes.pkl").exists()


def test_saving_again_replaces(tmp_path):
    make_artifact(tmp_path / "a", backbone_of(BERT), seed=1)
    second = make_artifact(tmp_path / "a", backbone_of(BERT), seed=2)
    assert same(load_artifact(tmp_path / "a"), second)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("files_before", [0, 1, 2])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, files_before):
    before = make_artifact(tmp_path / "a", backbone_of(BERT), seed=1)
    write, written = Path.write_bytes, []

    def full(path, content):
        if len(written) == files_before:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="no space is left"):
        make_artifact(tmp_path / "a", backbone_of(BERT), seed=2)
    with pytest.raises(InputError, match="no space is left"):
        make_artifact(tmp_path / "new", backbone_of(BERT), seed=2)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert same(load_artifact(tmp_path / "a"), before)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    backbone = backbone_of(BERT)
    (member,) = members_of(backbone, INTENT["labels"], (4,))
    member.prompt[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"'prompt\.0' holds values that are not finite"):
        save_artifact(tmp_path / "a", [member], facts_of(backbone))
    assert not list(tmp_path.iterdir())


def test_a_head_of_another_width_is_refused(tmp_path):
    backbone = backbone_of(BERT)
    (member,) = members_of(backbone, INTENT["labels"], (4,))
    with pytest.raises(InputError, match=r"'weight\.0' has another shape"):
        save_artifact(tmp_path / "a", [Member(member.prompt, member.weight[:, 1:], member.bias)], facts_of(backbone))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "shared"}, "does not fit"),
        ({"name": "shared-prompt"}, "does not fit"),
        ({"name": "a/b"}, "cannot name a task"),
        ({"combine": "mean"}, "does not fit 1 members"),
        ({"method": "shallow"}, "method"),
        ({"metrics": {"dev": {"accuracy": float("nan")}}}, "finite"),
        ({"width": 0}, "width"),
        ({"labels": ("a", "a")}, "a label occurs twice"),
        ({"type": "parsing"}, "unknown task type"),
    ],
)
def test_facts_that_contradict_themselves(tmp_path, changes, said):
    backbone = backbone_of(BERT)
    with pytest.raises(ValueError, match=said):
        make_artifact(tmp_path / "a", backbone, **changes)
    assert not list(tmp_path.iterdir())


def test_only_its_own_backbone_will_do(tmp_path):
    artifact = make_artifact(tmp_path / "a", backbone_of(BERT), **SLOTS)
    check_backbone(artifact, backbone_of(BERT).info)
    with pytest.raises(InputError, match="another backbone: the weights differ"):
        check_backbone(artifact, backbone_of("gpt2").info)
