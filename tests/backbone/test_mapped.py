"""Mapped weights: equal to what is loaded, each process's own when it writes, whole or not used."""

from __future__ import annotations

import resource
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.backbone import Backbone, PromptStates, describe, load_backbone, mapped
from pipeline.backbone.dtypes import DTYPES
from pipeline.backbone.layers import Skipped, find_layers
from pipeline.backbone.mapped import read_mapped
from pipeline.backbone.weights import read_weights
from pipeline.errors import InputError
from tests.tiny import FAMILIES, states_of, tiny_backbone


@cache
def info_of(family):
    return describe(family if family == "minilm" else str(tiny_backbone(family)))


@pytest.fixture
def writes(monkeypatch):
    """The files that this process writes, in their order."""
    seen, write = [], mapped._write
    monkeypatch.setattr(mapped, "_write", lambda path, *rest: (seen.append(path), write(path, *rest)))
    return seen


def only_file(folder):
    """The one file of weights in a folder, with nothing left over beside it but its lock."""
    (path,) = folder.glob("*.safetensors")
    assert {one.name for one in folder.iterdir()} == {path.name, path.with_suffix(".lock").name}
    return path


def rows_of(info):
    """Ids [3, 9] and their mask, the second row padded."""
    ids = torch.randint(5, info.vocabulary, (3, 9), generator=torch.Generator().manual_seed(2))
    return ids, torch.arange(9) < torch.tensor([9, 5, 9])[:, None]


def answer(model, info):
    ids, mask = rows_of(info)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


# -------------------------------------------------------------------------------------------------- equal to what it is


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [*FAMILIES, "minilm"])
def test_mapped_equals_loaded_to_the_last_bit(family, dtype, tmp_path, writes):
    info = info_of(family)
    torch.manual_seed(3)
    loaded = read_weights(info, dtype)
    for _ in range(2):  # who writes, and who finds
        model = read_mapped(info, dtype, tmp_path)
        assert torch.equal(answer(model, info), answer(loaded, info))
        expected, found = mapped._tensors(loaded), mapped._tensors(model)
        assert list(found) == list(expected)
        for name, tensor in found.items():
            assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name
        assert not any(module.training for module in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
    assert writes == [only_file(tmp_path)]


def test_each_dtype_has_a_file_of_its_own(tmp_path):
    for dtype in DTYPES:
        assert next(read_mapped(info_of("bert"), dtype, tmp_path).parameters()).dtype == DTYPES[dtype]
    assert len(list(tmp_path.glob("*.safetensors"))) == len(DTYPES)


def test_what_a_process_writes_into_its_weights_stays_with_it(tmp_path):
    info = info_of("bert")
    first = read_mapped(info, "float32", tmp_path)
    before = only_file(tmp_path).read_bytes()
    expected = answer(first, info)
    for parameter in first.parameters():
        parameter.data.fill_(7.0)
    assert only_file(tmp_path).read_bytes() == before
    assert torch.equal(answer(read_mapped(info, "float32", tmp_path), info), expected)


def test_weights_that_a_family_keeps_in_fp32_stay_so(tmp_path, monkeypatch, writes):
    from transformers import BertPreTrainedModel

    monkeypatch.setattr(BertPreTrainedModel, "_keep_in_fp32_modules_strict", ["LayerNorm"])
    for _ in range(2):
        model = read_mapped(info_of("bert"), "bfloat16", tmp_path)
        assert model.embeddings.LayerNorm.weight.dtype == torch.float32
        assert model.embeddings.word_embeddings.weight.dtype == torch.bfloat16
    assert len(writes) == 1


def test_tied_weights_are_kept_under_each_name(tmp_path, monkeypatch):
    def tied(make):
        def made(*args):
            model = make(*args)
            model.encoder.layer[2].output.dense.weight = model.encoder.layer[0].output.dense.weight
            return model

        return made

    monkeypatch.setattr(mapped, "_empty", tied(mapped._empty))
    monkeypatch.setattr(mapped, "read_weights", tied(read_weights))
    info = info_of("bert")
    model = read_mapped(info, "float32", tmp_path)
    assert torch.equal(answer(model, info), answer(tied(read_weights)(info, "float32"), info))
    with safe_open(only_file(tmp_path), framework="pt") as file:
        assert {f"encoder.layer.{i}.output.dense.weight" for i in (0, 2)} <= set(file.keys())


# ------------------------------------------------------------------------------------------------------ layers left out


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_below_the_first_are_not_loaded(family, tmp_path):
    info = info_of(family)
    whole = read_mapped(info, "float32", tmp_path)
    lower = {id(p) for layer in find_layers(whole, info.sites)[:2] for p in layer.parameters()}
    upper = read_mapped(info, "float32", tmp_path, first_layer=2)
    layers = find_layers(upper, info.sites)
    assert [isinstance(layer, Skipped) for layer in layers] == [True, True, False]
    assert not mapped._tensors(layers[0]) and not mapped._tensors(layers[1])
    names = [name for name, p in whole.named_parameters() if id(p) not in lower]
    assert [name for name, _ in upper.named_parameters()] == names
    assert not any(tensor.is_meta for tensor in mapped._tensors(upper).values())


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_enter_above_get_the_same_without_the_lower_layers(family, tmp_path):
    whole = load_backbone(str(tiny_backbone(family)), mapped=tmp_path)
    info, tokenizer = whole.info, whole.tokenizer
    upper = Backbone(read_mapped(info, "float32", tmp_path, first_layer=1), tokenizer, info)
    ids, mask = rows_of(info)
    prompts = torch.randn(2, 2, 2, info.heads, 4, info.head_size)  # [L - 1, K, 2, H, P, D]
    states = states_of(prompts, [0, 1, 1], [4, 2], first_layer=1)
    trunk = whole.trunk(ids, mask, None, [1])  # 1 → [3, 9, M]
    entering = PromptStates(states.layers, states.index, states.lengths, [1, 1, 1], trunk)
    with torch.no_grad():
        found = upper(ids, mask, prompts=entering)
        assert torch.equal(found, whole(ids, mask, prompts=entering))
        assert (found - whole(ids, mask, prompts=states)).abs().max() < 1e-5
        with pytest.raises(RuntimeError, match="not loaded"):
            upper(ids, mask)


# --------------------------------------------------------------------------------------------------------- what is bad


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def garbled(path):
    path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])


def emptied(path):
    path.write_bytes(b"")


def changed(change, keep_facts=True):
    """A whole file with other tensors in it."""

    def spoil(path):
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata=facts if keep_facts else None)

    return spoil


NAME = "encoder.layer.1.output.dense.weight"
SPOILERS = {
    "truncated": truncated,
    "garbled": garbled,
    "empty": emptied,
    "a tensor lacks": changed(lambda tensors: tensors.pop(NAME)),
    "a wrong shape": changed(lambda tensors: tensors.update({NAME: tensors[NAME].T.contiguous()})),
    "a wrong dtype": changed(lambda tensors: tensors.update({NAME: tensors[NAME].half()})),
    "of something else": changed(lambda tensors: None, keep_facts=False),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_a_bad_file_is_written_anew(spoiler, tmp_path, writes):
    info = info_of("bert")
    expected = answer(read_mapped(info, "float32", tmp_path), info)
    path = only_file(tmp_path)
    good = path.read_bytes()
    SPOILERS[spoiler](path)
    assert torch.equal(answer(read_mapped(info, "float32", tmp_path), info), expected)
    assert only_file(tmp_path).read_bytes() == good and len(writes) == 2


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    info = info_of("bert")
    read_mapped(info, "float32", tmp_path)
    path = only_file(tmp_path)
    path.unlink()
    path.with_suffix(".part").mkdir()
    (path.with_suffix(".part") / ".tmp123").write_bytes(b"half")
    read_mapped(info, "float32", tmp_path)
    assert only_file(tmp_path) == path


def test_weights_that_lack_a_tensor_are_refused_by_name(tmp_path, monkeypatch):
    def lacking(*args):
        model = read_weights(*args)
        del model.embeddings.LayerNorm
        return model

    monkeypatch.setattr(mapped, "read_weights", lacking)
    with pytest.raises(RuntimeError, match=r"embeddings\.LayerNorm\.weight, embeddings\.LayerNorm\.bias"):
        read_mapped(info_of("bert"), "float32", tmp_path)


def test_a_folder_that_cannot_be_one_is_the_users_mistake(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for folder in (taken, taken / "below"):
        with pytest.raises(InputError, match=r"taken.*cannot be kept"):
            read_mapped(info_of("bert"), "float32", folder)


def test_a_full_disk_is_told_with_the_folder(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # stands for the disk; Python ignores the signal
    try:
        with pytest.raises(InputError, match=r"cannot be kept.*File too large") as caught:
            read_mapped(info_of("bert"), "float32", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.where == str(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_sound_file_needs_no_right_to_write(tmp_path, monkeypatch):
    expected = answer(read_mapped(info_of("bert"), "float32", tmp_path), info_of("bert"))
    only_file(tmp_path).with_suffix(".lock").unlink()
    monkeypatch.setattr(Path, "open", lambda *args, **kwargs: pytest.fail("a lock was taken"))
    assert torch.equal(answer(read_mapped(info_of("bert"), "float32", tmp_path), info_of("bert")), expected)
