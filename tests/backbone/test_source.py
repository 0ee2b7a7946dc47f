"""A backbone is known before it is loaded, and refused by name when prompts cannot enter it."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.backbone import describe, load_backbone, resolve_dtype
from pipeline.errors import InputError
from tests.families import family_backbone
from tests.tiny import FAMILIES, tiny_backbone


@pytest.mark.parametrize(("family", "heads", "causal"), [("bert", 4, False), ("gpt2", 4, True), ("llama", 2, True)])
def test_the_description_is_what_loading_finds(family, heads, causal):
    info = describe(str(tiny_backbone(family)))
    assert (info.layers, info.heads, info.head_size, info.width, info.causal) == (3, heads, 8, 32, causal)
    assert info.context == 64 and info.revision == "local" and info.family == family
    states = load_backbone(str(tiny_backbone(family))).states_of(torch.tensor([7, 8, 9]))
    assert states.shape == (info.layers, 2, info.heads, 3, info.head_size)


def test_a_shared_layer_counts_as_often_as_it_runs_and_a_decoder_that_does_not_run_not_at_all():
    info = {family: describe(str(family_backbone(family))) for family in ("bert", "albert", "t5")}
    layer = 4 * 32 * 33 + 2 * 2 * 32 + 2 * 32 * 48 + 48 + 32  # attention, norms, the wide middle
    for family in ("bert", "albert"):
        assert 3 * layer < info[family].multiplied < 3 * layer + 128 * 32
    assert info["albert"].parameters < info["albert"].multiplied and 2 * info["t5"].multiplied < info["t5"].parameters


def test_minilm_by_its_built_in_name():
    info = describe("minilm")
    assert (info.family, info.layers, info.heads, info.head_size, info.context) == ("bert", 6, 12, 32, 512)
    assert info.prompt_parameters(16) == 6 * 2 * 12 * 16 * 32


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fingerprint_is_of_weights_and_tokenizer(family, tmp_path):
    original = describe(str(tiny_backbone(family))).fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(tiny_backbone(family), copy)
    assert describe(str(copy)).fingerprint == original
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert describe(str(copy)).fingerprint != original
    shutil.copy(tiny_backbone(family) / "model.safetensors", weights)
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + " ")
    assert describe(str(copy)).fingerprint != original


OUTSIDE = {"deberta-v2": ("encoder", "distilbert"), "mpnet": ("encoder", "bert"), "bloom": ("decoder", "gpt2")}
"""Family → its kind, and one of the families that are offered for it."""


@pytest.mark.parametrize("family", OUTSIDE)
def test_a_family_outside_the_seam_is_refused_by_name_from_its_config_alone(family, tmp_path, monkeypatch):
    """No weights are there, and none are asked for."""
    from transformers import AutoConfig

    AutoConfig.for_model(family).save_pretrained(tmp_path)
    kind, other = OUTSIDE[family]
    with pytest.raises(InputError, match=rf"the family '{family}' does not take prompts: its code .* {kind} .*{other}"):
        describe(str(tmp_path))
    asked = []

    def fetched(model, *, revision, allow_patterns):
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    with pytest.raises(InputError, match=f"the family '{family}' does not take prompts"):
        describe(f"someone/{family}")
    assert asked == [["config.json"]]


def test_what_runs_but_not_with_one_attention_to_a_layer_is_refused_by_name(tmp_path):
    from transformers import AutoConfig

    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 4, "d_model": 16}
    wanted = [
        (AutoConfig.for_model("albert", inner_group_num=2, vocab_size=50, **shape), "inner_group_num"),
        (AutoConfig.for_model("bart", vocab_size=50, encoder_layers=2, decoder_layers=2, **heads), "differ in"),
    ]
    for number, (config, why) in enumerate(wanted):
        folder = tmp_path / str(number)
        config.save_pretrained(folder)
        save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors")
        with pytest.raises(InputError, match=rf"the family '{config.model_type}' does not take prompts: .*{why}"):
            describe(str(folder))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="no such backbone folder"):
        describe(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no config\.json"):
        describe(str(tmp_path))
    shutil.copy(tiny_backbone("bert") / "config.json", tmp_path)
    with pytest.raises(InputError, match="no weights"):
        describe(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "no-such-family"}')
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        describe(str(tmp_path))


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(("family", "part"), [("bert", "layer.1."), ("gpt2", "h.2.mlp"), ("t5", "decoder.")])
def test_weights_that_a_checkpoint_lacks_are_not_drawn_at_random(family, part, mapped, tmp_path):
    """A T5 that was saved as an encoder has no decoder."""
    folder = tmp_path / "copy"
    shutil.copytree(family_backbone(family), folder)
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if part not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"backbone\.model: the checkpoint lacks \d+ of the weights .*{part}"):
        load_backbone(str(folder), mapped=tmp_path / "mapped" if mapped else None)
    assert not list(tmp_path.glob("mapped/*.safetensors"))


def test_a_hub_id_that_cannot_be_reached_suggests_a_built_in(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"no built-in backbone.*did you mean 'minilm'"):
        describe("minilmm")


def test_a_hub_id_loads_what_the_hub_gives(monkeypatch):
    """The download itself is the hub library's; what it fetched is a folder like any other."""
    asked = {}

    def fetched(model, *, revision, allow_patterns):
        asked.update(model=model, revision=revision, patterns=allow_patterns)
        return str(tiny_backbone("bert"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    info = describe("someone/tiny-bert", "abc")
    assert info.name == "someone/tiny-bert" and info.revision == tiny_backbone("bert").name
    assert asked["model"] == "someone/tiny-bert" and asked["revision"] == "abc"
    assert not any(pattern.endswith(".py") for pattern in asked["patterns"])


def test_dtype_by_name():
    assert resolve_dtype("float32") == "float32" and resolve_dtype("auto") in ("float32", "bfloat16")
    with pytest.raises(InputError, match="did you mean 'bfloat16'"):
        resolve_dtype("bfloat61")


def test_no_pooler_is_kept():
    """Checkpoints without one would get a random one: two loads would differ."""
    model = load_backbone("minilm")
    assert not any("pooler" in name for name, _ in model.weights())
    assert load_backbone(str(tiny_backbone("bert"))).checksum() == load_backbone(str(tiny_backbone("bert"))).checksum()
