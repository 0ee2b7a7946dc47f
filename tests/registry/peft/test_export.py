"""Artifacts as PEFT loads them: the README's own code, run as it stands, gives the logits that we give."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline.errors import InputError
from pipeline.registry import Predictor, load_artifact
from pipeline.registry.peft import Wanted, export_adapter, import_adapter, read_adapter
from tests.registry.made import INTENT, SAME, SLOTS, make_artifact, make_shared
from tests.registry.peft.adapters import (
    DECODERS,
    FAMILIES,
    backbone_at,
    base_of,
    imported,
    peft_model,
)
from tests.registry.peft.readme import TEXTS, by_the_readme, made, ours

FORMS = [(m, p) for m in ("prefix", "prompt_tuning") for p in ("mean", "first", "last")] + [("p_tuning", "mean")]


@pytest.mark.parametrize(("method", "pooling"), FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_is_answered_alike(family, method, pooling, tmp_path):
    artifact = made(tmp_path / "a", family, method=method, pooling=pooling)
    done = export_adapter(artifact, tmp_path / "b")
    assert (done.task_type, done.reading, done.positions) == ("TOKEN_CLS", pooling, "own")
    scores, _ = by_the_readme(tmp_path / "b", TEXTS)
    expected, _ = ours(artifact, family, [{"text": text} for text in TEXTS])
    assert torch.allclose(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_tags_and_pairs_are_answered_alike(family, tmp_path):
    tags = made(tmp_path / "a", family, **{**SLOTS, "lengths": (5,), "combine": None})
    export_adapter(tags, tmp_path / "b")
    words = [text.split() for text in TEXTS]
    scores, _ = by_the_readme(tmp_path / "b", words)
    expected, answer = ours(tags, family, [{"tokens": own} for own in words])
    assert torch.allclose(scores[answer], expected, atol=1e-5, rtol=1e-5)
    pair = made(tmp_path / "c", family, **{**SAME, "lengths": (3,), "combine": None})
    export_adapter(pair, tmp_path / "d")
    scores, _ = by_the_readme(tmp_path / "d", TEXTS, TEXTS[::-1])
    rows = [{"text_a": a, "text_b": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    assert torch.allclose(scores, ours(pair, family, rows)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_questions_are_answered_alike(family, tmp_path):
    artifact = made(tmp_path / "a", family, type="qa", labels=("start", "end"), name="qa")
    export_adapter(artifact, tmp_path / "b")
    rows = [
        {"question": "is my order late", "context": "the order was lost"},
        {"question": "now", "context": "not now"},
    ]
    expected, answer = ours(artifact, family, rows)
    scores, _ = by_the_readme(tmp_path / "b", [row["question"] for row in rows], [row["context"] for row in rows])
    assert torch.allclose(scores[answer], expected, atol=1e-5, rtol=1e-5)


def test_minilm_through_peft(tmp_path):
    from pipeline.backbone import load_backbone

    backbone = load_backbone("minilm")
    artifact = make_artifact(tmp_path / "a", backbone, **{**INTENT, "lengths": (16,)})
    export_adapter(artifact, tmp_path / "b")
    scores, _ = by_the_readme(tmp_path / "b", TEXTS)
    answers = Predictor(backbone, {"intent": artifact}).predict([{"text": text} for text in TEXTS])
    for own, answer in zip(scores.softmax(-1), answers, strict=True):
        assert list(answer["scores"].values()) == pytest.approx(own.tolist(), abs=1e-5)


@pytest.mark.parametrize("method", ["prefix", "prompt_tuning", "p_tuning"])
def test_there_and_back_nothing_is_lost(method, tmp_path):
    artifact = made(tmp_path / "a", "bert", method=method, pooling="mean")
    export_adapter(artifact, tmp_path / "b")
    back = import_adapter(read_adapter(tmp_path / "b"), tmp_path / "c", Wanted())
    (one,), (other,) = artifact.members, back.members
    assert torch.equal(one.prompt, other.prompt) and torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)
    changed = {"parents", "origin", "fingerprint", "files"}
    plain, again = (manifest.model_dump(exclude=changed) for manifest in (artifact.manifest, back.manifest))
    assert {**plain, "parents": ()} == {**again, "parents": ()}
    assert [parent.fingerprint for parent in back.manifest.parents] == [artifact.manifest.fingerprint]
    assert set(back.manifest.origin.files) >= {"deepprompt.json", "head.safetensors"}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_imported_prefix_goes_back_as_it_came(family, tmp_path):
    """Into the class for sentences, with its layer and its shifted positions: PEFT answers as it did."""
    model = peft_model(base_of(family), "SEQ_CLS", "prefix")
    model.save_pretrained(tmp_path / "theirs")
    artifact = imported(tmp_path / "theirs", tmp_path / "ours")
    done = export_adapter(artifact, tmp_path / "back")
    assert (done.task_type, done.reading, done.positions) == ("SEQ_CLS", "sequence", "shifted")
    scores, rows = by_the_readme(tmp_path / "back", TEXTS)
    assert torch.allclose(scores, model(**rows).logits, atol=1e-5, rtol=1e-5)
    again = import_adapter(read_adapter(tmp_path / "back"), tmp_path / "again", Wanted())
    assert again.manifest.positions == "shifted" and again.manifest.bent == (family not in DECODERS)


def test_one_of_an_ensemble(tmp_path):
    artifact = made(tmp_path / "a", "bert", lengths=(2, 6), combine="mean")
    with pytest.raises(InputError, match=r"ensemble of 2 members.*--member 1 to --member 2"):
        export_adapter(artifact, tmp_path / "b")
    with pytest.raises(InputError, match="no such member; found 3"):
        export_adapter(artifact, tmp_path / "b", member=3)
    assert export_adapter(artifact, tmp_path / "b", member=2).places == 6
    back = import_adapter(read_adapter(tmp_path / "b"), tmp_path / "c", Wanted())
    assert torch.equal(back.members[0].prompt, load_artifact(tmp_path / "a").members[1].prompt)
    assert (back.manifest.combine, back.manifest.metrics) == (None, {})  # the ensemble's figures are not its member's


REFUSED = {
    "lower layers without a prompt": ({"first_layer": 1}, "PEFT's prefixes stand in every layer.*layer 1 on"),
    "a template": ({"method": "p_tuning", "layout": "{2} text {2}"}, "in front of a row and nowhere else"),
    "after the first token": ({"method": "prompt_tuning", "layout": "after_first"}, "in front of a row"),
    "a head alone": ({"lengths": (0,)}, "a head without a prompt"),
    "two texts side by side": (
        {**SAME, "lengths": (4,), "combine": None, "pooling": "pair"},
        "reads both texts of a pair",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_in_peft_is_refused_by_name(case, tmp_path):
    changes, said = REFUSED[case]
    artifact = made(tmp_path / "a", "bert", **changes)
    with pytest.raises(InputError, match=said):
        export_adapter(artifact, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_other_refusals_write_nothing(tmp_path):
    with pytest.raises(InputError, match="a shared prompt has no head"):
        export_adapter(make_shared(tmp_path / "s", backbone_at(base_of("bert"))), tmp_path / "b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    artifact = made(tmp_path / "a", "bert")
    with pytest.raises(InputError, match="there is something already"):
        export_adapter(artifact, tmp_path / "full")
    identity = artifact.manifest.backbone.model_copy(update={"family": "bloom"})
    other = type(artifact)(artifact.manifest.model_copy(update={"backbone": identity}), artifact.members)
    with pytest.raises(InputError, match=r"family 'bloom' do not travel.*bert, camembert"):
        export_adapter(other, tmp_path / "b")
    assert {path.name for path in tmp_path.iterdir()} == {"s", "a", "full"}


def test_the_config_is_one_that_peft_writes(tmp_path):
    """Nothing that PEFT would not know, and the sizes of its own file for the same adapter."""
    peft_model(base_of("llama"), "TOKEN_CLS", "prefix").save_pretrained(tmp_path / "theirs")
    export_adapter(made(tmp_path / "a", "llama"), tmp_path / "b")
    theirs, our = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("theirs", "b"))
    assert our.keys() <= theirs.keys()
    same = ("peft_type", "task_type", "num_layers", "num_attention_heads", "token_dim", "num_virtual_tokens")
    assert {key: our[key] for key in same} == {key: theirs[key] for key in same}
