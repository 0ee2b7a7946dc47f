"""Adapters of PEFT's own making, imported: the same logits to 1e-5, in batches of unequal lengths."""

from __future__ import annotations

import pytest
import torch

from pipeline.registry import Predictor
from tests.registry.made import INTENT, make_artifact
from tests.registry.peft.adapters import (
    DECODERS,
    FAMILIES,
    KINDS,
    PLACES,
    ROWS,
    backbone_at,
    base_of,
    imported,
    our_logits,
    peft_logits,
    peft_model,
)


def close(ours, theirs):
    return all(torch.allclose(a, b, atol=1e-5, rtol=1e-5) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_adapter_answers_as_in_peft(family, kind, tmp_path):
    """Through BERT's pooler, RoBERTa's own layer and a decoder's last token; positions shifted where PEFT shifts."""
    model = peft_model(base_of(family), "SEQ_CLS", kind)
    model.save_pretrained(tmp_path / "theirs")
    artifact = imported(tmp_path / "theirs", tmp_path / "ours")
    deep = kind.startswith("prefix")
    assert artifact.manifest.positions == ("shifted" if deep else "own")
    assert artifact.manifest.bent == (family not in DECODERS)
    ours = our_logits(artifact, backbone_at(base_of(family)))
    if family in DECODERS and not deep:
        # PEFT pools the padding of the shorter rows (peers 3.1.7); alone, each row gets what it gets here in a batch.
        theirs = [own for row in ROWS for own in peft_logits(model, [row])]
        assert not close(peft_logits(model), theirs)
    else:
        theirs = peft_logits(model)
    assert close(ours, theirs)


@pytest.mark.parametrize("task_type", ["TOKEN_CLS", "QUESTION_ANS"])
@pytest.mark.parametrize("kind", ["prefix", "prompt_tuning"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_for_tokens_answers_as_in_peft(family, kind, task_type, tmp_path):
    model = peft_model(base_of(family), task_type, kind)
    model.save_pretrained(tmp_path / "theirs")
    facts = {} if task_type == "TOKEN_CLS" else {"labels": None}
    artifact = imported(tmp_path / "theirs", tmp_path / "ours", **facts)
    theirs = peft_logits(model, places=0 if kind == "prefix" else PLACES)
    ours = our_logits(artifact, backbone_at(base_of(family)), tokens=True)
    if task_type == "QUESTION_ANS":  # places are compared with each other: a constant for all of them says nothing
        ours, theirs = ([own.log_softmax(0) for own in logits] for logits in (ours, theirs))
    assert close(ours, theirs)


def test_on_minilm_an_imported_prefix_answers_as_in_peft_beside_one_of_ours(tmp_path):
    """Real weights; one batch with a prompt that takes no positions."""
    from pipeline.backbone import describe, load_backbone

    model = peft_model(describe("minilm").folder, "SEQ_CLS", "prefix", places=16)
    model.save_pretrained(tmp_path / "theirs")
    backbone = load_backbone("minilm")
    theirs = imported(tmp_path / "theirs", tmp_path / "ours", backbone="minilm", task="theirs")
    ours = make_artifact(tmp_path / "own", backbone, **INTENT)
    texts = ["where is my parcel", "cancel the order that I made yesterday, please", "refund"]
    rows = [{"task": name, "text": text} for text in texts for name in ("theirs", "own")]
    answers = Predictor(backbone, {"theirs": theirs, "own": ours}).predict(rows)
    alone = Predictor(backbone, {"own": ours}).predict([{"text": text} for text in texts])
    logits = peft_logits(model, backbone.tokenizer(texts)["input_ids"])
    for answer, expected, own, single in zip(answers[::2], logits, answers[1::2], alone, strict=True):
        assert list(answer["scores"].values()) == pytest.approx(expected.softmax(0).tolist(), abs=1e-5)
        assert own["scores"] == pytest.approx(single["scores"], abs=1e-5)
    assert close(our_logits(theirs, backbone), peft_logits(model))


def test_what_is_known_of_an_imported_artifact(tmp_path):
    """Where it came from, with each file's hash; a row leaves room for the positions that the prompt takes."""
    import hashlib

    peft_model(base_of("gpt2"), "SEQ_CLS", "prefix").save_pretrained(tmp_path / "theirs")
    manifest = imported(tmp_path / "theirs", tmp_path / "ours", type="multilabel").manifest
    assert manifest.origin.format == "peft" and manifest.origin.base == str(base_of("gpt2"))
    assert manifest.origin.files == {
        name: hashlib.sha256((tmp_path / "theirs" / name).read_bytes()).hexdigest()
        for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    assert (manifest.task.type, manifest.task.max_tokens) == ("multilabel", 64 - PLACES)
    assert (manifest.metrics, manifest.data, manifest.parents) == ({}, {}, ())


def test_questions_are_asked_as_peft_asks_them(tmp_path):
    """Its class for questions drops `token_type_ids` and `position_ids` without a word; so was the adapter trained."""
    from pipeline.backbone import describe, load_backbone

    model = peft_model(describe("minilm").folder, "QUESTION_ANS", "prefix")
    model.save_pretrained(tmp_path / "theirs")
    backbone = load_backbone("minilm")
    artifact = imported(tmp_path / "theirs", tmp_path / "ours", task="qa", labels=None, backbone="minilm")
    row = {"question": "what is lost", "context": "my parcel is lost, and nobody knows where it is"}
    (read,) = Predictor(backbone, {"qa": artifact}).read([row])
    asked = backbone.tokenizer(row["question"], row["context"], return_tensors="pt")
    assert bool(asked["token_type_ids"].any()) and not any(read.encoded[0]["token_type_ids"])
    told = model(**asked)
    theirs = torch.stack([told.start_logits, told.end_logits], -1)[0].detach()
    (ours,) = our_logits(artifact, backbone, [asked["input_ids"][0].tolist()], tokens=True)
    assert torch.allclose(ours.log_softmax(0), theirs.log_softmax(0), atol=1e-5)
