"""A task that is written trains by teacher forcing, beside others as alone, and writes what its artifact writes."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from kinds import WRITTEN, task_of

from pipeline.backbone import load_backbone
from pipeline.registry import BackboneIdentity, Facts, Member, Predictor, TaskIdentity, load_artifact, save_artifact
from pipeline.tasks import Decoding, prepare_task
from pipeline.training.adaptation.search import SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.evaluation.answering import write_together
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.trunks import Trunks
from tests.families import language_model
from tests.training.adaptation.test_cohort import assert_same, cohort_of, train

SETTINGS = SearchSettings(steps=4, rows=3, warmup=0.25, evaluate_every=2, patience=0, seed=3)
CANDIDATES = [Candidate("scratch", 4, 0, 2e-2, 0), Candidate("scratch", 2, 2, 2e-2, 1)]
HOW = Decoding(6)


@cache
def _backbone(family):
    return load_backbone(str(language_model(family)))


def prepared(folder, family, kind="generation", **rules):
    model = _backbone(family)
    rules |= {"decoding": HOW} if kind == "generation" else {}
    task = task_of(folder, kind, **rules)
    where = {"context": model.info.context, "cache_dir": folder / "cache", "predicts": model.info.predicts}
    return model, prepare_task(task, model.tokenizer, **where)


@torch.no_grad()
def stock_loss(family, task):
    """The mean loss of dev's references under transformers' own model, without any prompt."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    decodes = _backbone(family).info.decodes
    kind = AutoModelForSeq2SeqLM if decodes else AutoModelForCausalLM
    model = kind.from_pretrained(language_model(family)).eval()
    total, count = 0.0, 0
    for row in task.encoded["dev"].take(range(4)):
        for one in row:
            asked, labels = one["answer"][0] + 1, torch.tensor(one["labels"])
            ids = torch.tensor([one["input_ids"]])
            if decodes:
                start = torch.tensor([[model.config.decoder_start_token_id, *one["input_ids"][asked:]]])
                logits = model(input_ids=ids[:, :asked], decoder_input_ids=start).logits[0]
            else:
                logits = model(input_ids=ids).logits[0, asked - 1 :]
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
    return total / count


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_without_a_prompt_the_loss_is_the_stock_models(family, tmp_path):
    model, task = prepared(tmp_path, family)
    (one,) = train(model, task, [Candidate("scratch", 0, 0, 0.0, 0)], tmp_path / "run", SETTINGS)
    assert one.loss == pytest.approx(stock_loss(family, task), abs=1e-4)
    assert one.score == pytest.approx(math.exp(-one.loss)), "dev is scored by the likelihood of the references"
    assert one.weight.numel() == one.bias.numel() == 0, "the head is the backbone's own"


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_beside_other_tasks_and_with_a_trunk_it_ends_as_alone(family, tmp_path):
    model, task = prepared(tmp_path, family)
    other = prepared(tmp_path, family, "classification")[1]
    alone = train(model, task, CANDIDATES, tmp_path / "alone", SETTINGS)
    before = model.checksum()
    searches = [(task, CANDIDATES, SETTINGS), (other, CANDIDATES, SETTINGS)]
    beside = cohort_of(model, searches, tmp_path / "beside", tokens_per_pass=64).run()[0]
    trunks = Trunks(model, tmp_path / "trunk", 10**9)
    cached = train(model, task, CANDIDATES, tmp_path / "cached", SETTINGS, trunks=trunks)
    assert len(list((tmp_path / "trunk").glob("*.trunk"))) == 1  # layer 2; train and dev hold the same rows
    assert model.checksum() == before
    for found in (beside, cached):
        for one, same in zip(alone, found, strict=True):
            assert_same(one, same, atol=1e-3)


def test_a_large_vocabulary_makes_passes_smaller_and_nothing_else(tmp_path, monkeypatch):
    model, task = prepared(tmp_path, "gpt2")
    wide = train(model, task, CANDIDATES, tmp_path / "wide", SETTINGS)
    most: list[int] = []
    score = model.scores
    monkeypatch.setattr(model, "scores", lambda hidden: most.append(len(hidden)) or score(hidden))
    monkeypatch.setattr("pipeline.training.passes.packing.SCORES_PER_PASS", 40 * model.info.vocabulary)
    narrow = train(model, task, CANDIDATES, tmp_path / "narrow", SETTINGS)
    assert 0 < max(most) <= 40
    for one, same in zip(wide, narrow, strict=True):
        assert_same(one, same, atol=1e-3)


def test_it_learns_what_it_is_taught(tmp_path):
    model, task = prepared(tmp_path, "gpt2")
    many = SearchSettings(steps=60, rows=4, warmup=0.1, evaluate_every=30, patience=0, seed=3)
    (one,) = train(model, task, [Candidate("scratch", 8, 0, 5e-2, 0)], tmp_path / "run", many)
    (bare,) = train(model, task, [Candidate("scratch", 0, 0, 0.0, 0)], tmp_path / "bare", SETTINGS)
    assert one.loss < 0.85 * bare.loss


@pytest.mark.parametrize(("family", "beams"), [("llama", 1), ("bart", 2)])
def test_saved_and_loaded_it_writes_as_evaluation_does(family, beams, tmp_path):
    how = Decoding(6, beams=beams)
    model, task = prepared(tmp_path, family)
    task = task.__class__(**{**vars(task), "rules": {**task.rules, "decoding": vars(how)}})
    trained = train(model, task, CANDIDATES, tmp_path / "run", SETTINGS)
    texts = write_together(model, task, "test", trained, pooling="last")
    figures = SplitRows(task, "test").judge(texts[0]).figures
    assert set(figures) == {"bleu", "chrf", "rouge1", "rouge2", "rougeL"}
    artifacts = {}
    for n, one in enumerate(trained):
        facts = Facts(
            kind="task", name="generation", layers=model.info.layers, width=model.info.width, pooling="last",
            task=TaskIdentity.of(task), backbone=BackboneIdentity.of(model.info, "float32"),
            data=dict(task.fingerprints), metrics={"test": figures}, training={},
        )  # fmt: skip
        save_artifact(tmp_path / str(n), [Member(one.prompt, one.weight, one.bias)], facts)
        artifacts[str(n)] = load_artifact(tmp_path / str(n))
    rows = [{"task": name, "input": row["input"]} for row in WRITTEN["generation"] for name in artifacts]
    heard: list[tuple[int, int]] = []
    told = Predictor(model, artifacts, rows_per_batch=3).predict(rows, lambda *done: heard.append(done))
    for place, answer in enumerate(told):
        row, n = divmod(place, 2)
        assert answer == {"task": str(n), "text": texts[n][row]}
    assert heard[-1] == (len(rows), len(rows))
    with pytest.raises(ValueError, match="cannot answer together"):
        save_artifact(
            tmp_path / "both", [Member(one.prompt, one.weight, one.bias) for one in trained],
            facts.model_copy(update={"combine": "mean"}),
        )  # fmt: skip
