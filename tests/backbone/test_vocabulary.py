"""The backbone's own language-model head: the scores are those of the family's own language model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.backbone import check_vocabulary, describe, load_backbone
from pipeline.backbone.vocabulary import open_vocabulary
from pipeline.errors import InputError
from tests.conftest import SHARED
from tests.families import LANGUAGE_MODELS, language_model, language_models
from tests.tiny import tiny_backbone

IDS = torch.tensor([[2, 11, 7, 9, 3], [2, 8, 20, 3, 0]])
STORIES = SHARED / "models" / "stories260K"


def whole_model(folder):
    from transformers import AutoConfig

    kind = language_models(AutoConfig.from_pretrained(folder))
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.mark.parametrize("family", [*LANGUAGE_MODELS, "stories260K"])
def test_scores_at_chosen_positions_are_the_language_models_own(family, tmp_path):
    if family == "stories260K" and not STORIES.is_dir():
        pytest.skip(f"no model at {STORIES}")
    folder = STORIES if family == "stories260K" else language_model(family)
    mask = IDS > 0
    row, column = torch.tensor([0, 0, 1]), torch.tensor([1, 4, 2])
    for mapped in (None, tmp_path):
        backbone = load_backbone(str(folder), mapped=mapped)
        with torch.no_grad():
            hidden, how = backbone(IDS, mask), {"input_ids": IDS, "attention_mask": mask.long()}
            if backbone.info.decodes:
                hidden = backbone.decode(IDS.flip(1), torch.ones_like(mask), hidden, mask)
                how["decoder_input_ids"] = IDS.flip(1)
            found = backbone.scores(hidden[row, column])  # [A, V]
            whole = whole_model(folder)(**how).logits
        assert torch.allclose(found, whole[row, column], atol=1e-4, rtol=1e-4)
        assert not any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize(("family", "tied"), [("llama", True), ("llama", False), ("bert", True), ("bert", False)])
def test_a_tied_head_is_the_embeddings_and_is_held_once(family, tied):
    backbone = load_backbone(str(language_model(family, tie_word_embeddings=tied)))
    before = sum(p.numel() for p in backbone.parameters())
    checksum = backbone.checksum()
    vocabulary = backbone.open_vocabulary()
    added = sum(p.numel() for p in backbone.parameters()) - before
    size = backbone.info.vocabulary * backbone.info.width
    assert (added < size) == tied
    names = [name for name, _ in vocabulary.weights()]
    assert (backbone.checksum() == checksum) == (not names)  # the head's own weights are watched, too
    assert names or (family == "llama" and tied)


def test_gradients_pass_through_the_head_and_none_stay_in_it():
    backbone = load_backbone(str(language_model("bert")))
    hidden = torch.randn(3, 32, requires_grad=True)
    backbone.train().scores(hidden).logsumexp(1).sum().backward()
    assert bool(hidden.grad.any()) and not any(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("model", ["minilm", "bert", "llama"])
def test_a_checkpoint_without_a_head_is_refused_by_name_before_weights_are_read(model):
    """MiniLM's, and bare models; a bare GPT-2 has one, since its head is its embeddings."""
    info = describe(model if model == "minilm" else str(tiny_backbone(model)))
    with pytest.raises(InputError) as told:
        check_vocabulary(info)
    assert f"the checkpoint of {info.name!r} has no language-model head" in told.value.message
    assert "head: linear does not" in told.value.message and "\n" not in told.value.message
    with pytest.raises(InputError, match="has no language-model head"):
        load_backbone(info.name).open_vocabulary()


def test_a_tied_head_needs_nothing_of_the_checkpoint():
    check_vocabulary(describe(str(tiny_backbone("gpt2"))))


def test_a_backbone_shared_out_over_ranks_has_a_whole_copy_of_a_tied_head():
    """No rank holds the embeddings as they are, so they are read from the checkpoint."""
    for family in ("bert", "gpt2", "t5"):
        backbone = load_backbone(str(language_model(family)))
        share = nn.Linear(1, 1)  # none of its weights has the name of an embedding
        hidden = torch.randn(3, 32)
        assert torch.equal(open_vocabulary(share, backbone.info, None)(hidden), backbone.scores(hidden))
