"""Folders that are no adapters, or not the ones they seem: each is refused in one line, and nothing is registered."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import InputError
from tests.registry.peft.adapters import base_of, imported, peft_model
from tests.tiny import tiny_backbone

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Families' adapters as PEFT writes them: prefixes for sentences."""
    folder = tmp_path_factory.mktemp("sound")
    for family in ("bert", "gpt2"):
        peft_model(base_of(family), "SEQ_CLS", "prefix").save_pretrained(folder / family)
    return folder


@pytest.fixture
def adapter(sound, tmp_path):
    return shutil.copytree(sound / "gpt2", tmp_path / "adapter")


def configured(folder, **changes):
    path = folder / CONFIG
    plain = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in plain.items() if value != "gone"}))


def retensored(folder, change):
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS)


def refused(folder, said, **facts):
    into = folder.parent / "into"
    with pytest.raises(InputError, match=said):
        imported(folder, into, **facts)
    assert not into.exists()


CONFIGS = {
    "LoRA": ({"peft_type": "LORA"}, "only prompts travel.*found LORA.*did you mean 'PREFIX_TUNING'"),
    "many tasks": ({"peft_type": "MULTITASK_PROMPT_TUNING"}, "did you mean 'PROMPT_TUNING'"),
    "no kind": ({"peft_type": "gone"}, "peft_type"),
    "kind of another type": ({"peft_type": 3}, "peft_type.*valid string"),
    "places as text": ({"num_virtual_tokens": "4"}, "num_virtual_tokens.*valid integer"),
    "no places": ({"num_virtual_tokens": 0}, "num_virtual_tokens.*greater than or equal to 1"),
    "more places than there are": ({"num_virtual_tokens": 5}, "prompt_embeddings.*another shape"),
    "beyond all measure": ({"num_virtual_tokens": 10**12}, "num_virtual_tokens.*less than or equal"),
    "two stacks": ({"num_transformer_submodules": 2}, "encoder-decoders do not travel"),
    "no head": ({"task_type": "CAUSAL_LM"}, "has no head.*found CAUSAL_LM.*SEQ_CLS"),
    "another head": ({"task_type": "TOKEN_CLS"}, "the head is not in the file.*base_model.classifier.weight"),
    "no base": ({"base_model_name_or_path": None}, "does not say what its base model is.*--backbone"),
    "a base that is gone": ({"base_model_name_or_path": "/gone/base"}, "no such backbone folder.*gone"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs(adapter, case):
    changes, said = CONFIGS[case]
    configured(adapter, **changes)
    refused(adapter, said)


def put(name, value):
    return lambda tensors: tensors.update({name: value})


FILES = {
    "no prompt": (lambda t: t.pop("prompt_embeddings"), "holds no prompt"),
    "no head": (lambda t: t.pop("base_model.score.weight"), "the head is not in the file"),
    "another width": (put("base_model.score.weight", torch.zeros(3, 31)), "another shape.*31"),
    "a scalar": (put("base_model.score.weight", torch.tensor(1.0)), "another shape"),
    "no outputs": (put("base_model.score.weight", torch.zeros(0, 32)), "another shape"),
    "of modules that we have no place for": (
        put("base_model.other.weight", torch.zeros(2)),
        "tensors of other modules",
    ),
    "integers": (
        put("prompt_embeddings", torch.zeros(4, 192, dtype=torch.int64)),
        "of another type; found torch.int64",
    ),
    "not finite": (put("prompt_embeddings", torch.full((4, 192), torch.nan)), "not finite"),
}


@pytest.mark.parametrize("case", FILES)
def test_tensors(adapter, case):
    change, said = FILES[case]
    retensored(adapter, change)
    refused(adapter, said)


def test_half_precision_is_read(adapter, tmp_path):
    retensored(adapter, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    assert imported(adapter, tmp_path / "into").members[0].prompt.dtype == torch.float32


def test_files_that_are_none(adapter, tmp_path):
    refused(tmp_path / "nowhere", "there is no such folder")
    refused(tmp_path, "no PEFT adapter.*adapters lie in adapter")
    for content, said in ((b"\xff", "not JSON"), (b"[" * 10**5, "not JSON"), (b"[]", "not a JSON object")):
        (adapter / CONFIG).write_bytes(content)
        refused(adapter, said)


def test_pickles_are_not_opened(adapter):
    (adapter / TENSORS).rename(adapter / "adapter_model.bin")
    refused(adapter, r"pickled.*found adapter_model\.bin.*convert it")
    (adapter / "adapter_model.bin").rename(adapter / TENSORS)
    (adapter / TENSORS).write_bytes(b"\x80\x04cos\nsystem\n")
    refused(adapter, "does not hold tensors")


def test_facts_that_are_missing_are_all_told_at_once(adapter):
    refused(adapter, r"(?s)--task: .*--labels: .*expected 3 labels", task=None, labels=None)
    refused(adapter, "labels do not fit.*found a, b; expected 3", labels=("a", "b"))
    refused(adapter, "labels do not fit", labels=("a", "b", "b"))
    refused(adapter, "--type.*found token; expected classification, pair, multilabel", type="token")
    refused(adapter, "--task: this cannot name a task", task="a/b")
    refused(adapter, "no task may have this name", task="shared-prompt")


def test_another_base_model(adapter, sound, tmp_path):
    """By its name as far as PEFT keeps one, by its shape in any case; who knows better may say so."""
    moved = shutil.copytree(base_of("gpt2"), tmp_path / "renamed")
    configured(adapter, base_model_name_or_path="org/some-gpt2")
    refused(
        adapter, "names another base model; found .*renamed; expected org/some-gpt2; .*--same-base", backbone=str(moved)
    )
    imported(adapter, tmp_path / "vouched", backbone=str(moved), same_base=True)
    configured(adapter, base_model_name_or_path="org/renamed")
    imported(adapter, tmp_path / "alike", backbone=str(moved))
    configured(adapter, base_model_name_or_path=str(base_of("gpt2")))
    imported(adapter, tmp_path / "same weights", backbone=str(moved))
    refused(adapter, "another shape.*is --backbone the model", backbone="minilm", same_base=True)


def test_a_pooler_that_was_drawn_at_random_is_not_made_up(sound, tmp_path):
    """PEFT answers with whatever a BERT without a pooler drew, another at each loading, and keeps none of it."""
    folder = shutil.copytree(sound / "bert", tmp_path / "adapter")
    refused(folder, "drawn at random and is lost", backbone=str(tiny_backbone("bert")), same_base=True)


def test_an_exported_folder_that_was_changed(tmp_path):
    from pipeline.registry.peft import export_adapter
    from tests.registry.made import INTENT, make_artifact
    from tests.registry.peft.adapters import backbone_at

    artifact = make_artifact(tmp_path / "a", backbone_at(base_of("gpt2")), **INTENT)
    export_adapter(artifact, tmp_path / "b")
    facts = {"task": None, "labels": None}
    refused(tmp_path / "b", "--labels: the folder says this itself", labels=("x", "y", "z"))
    refused(tmp_path / "b", "this is another backbone", **facts, backbone=str(base_of("bert")))
    (tmp_path / "b" / "deepprompt.json").write_text('{"format": 1}')
    refused(tmp_path / "b", "not as `deepprompt export` writes it", **facts)
    shutil.rmtree(tmp_path / "b")
    export_adapter(artifact, tmp_path / "b")
    retensored(tmp_path / "b", lambda tensors: tensors["prompt_embeddings"].mul_(2))
    refused(tmp_path / "b", "changed after it was exported", **facts)
    (tmp_path / "b" / "deepprompt.json").unlink()
    refused(tmp_path / "b", "--type", type="classification")  # without it, it is what PEFT calls it: one for tokens
    assert imported(tmp_path / "b", tmp_path / "c").manifest.task.type == "token"
