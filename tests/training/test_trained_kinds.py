"""Every task type trains, answers, ensembles and distils: together as alone, padded as not, cached as computed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from kinds import ROWS, task_of

from pipeline.prompts import COMBINATIONS, Recipe
from pipeline.tasks import TASK_TYPES, Gold, collate, prepare_task
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.distil import DistilSettings, distil
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate
from pipeline.training.choice.greedy import choose_ensemble
from pipeline.training.choice.select import ranked
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.pretraining.shared import PretrainSettings
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.training.adaptation.test_cohort import assert_same, cohort_of, train

SETTINGS = SearchSettings(steps=4, rows=3, warmup=0.25, evaluate_every=2, patience=0, seed=3)
CANDIDATES = [
    Candidate("scratch", 4, 0, 2e-2, 0),
    Candidate("shared", 2, 1, 2e-2, 1),
    Candidate("scratch", 3, 2, 2e-2, 2),
]


@cache
def _folder():
    return Path(mkdtemp(prefix="kinds-"))


@pytest.fixture(scope="session")
def kind_of(backbone):
    """(type, family, tokens left for input prompts) → a prepared task of the type, whose long rows the tiny backbones
    read in windows."""

    @cache
    def make(kind, family="bert", room=0):
        model = backbone(family)
        task = task_of(_folder(), kind, overlap=8)
        return prepare_task(task, model.tokenizer, context=model.info.context - room, cache_dir=_folder() / "cache")

    return make


def test_long_contexts_are_several_sequences(kind_of):
    assert kind_of("qa").encoded["train"].sequences.tolist() == [1, 3, 3, 1]
    assert kind_of("choice").encoded["train"].sequences.tolist() == [2, 3, 2, 4]
    assert all(kind_of(kind).encoded["dev"].sequences.max() == 1 for kind in set(ROWS) - {"qa", "choice"})


def test_all_types_in_one_cohort_end_as_each_alone(backbone, kind_of, tmp_path):
    """Nine types, three candidates each, in passes so narrow that every task's rows are split."""
    model = backbone("bert")
    searches = [(kind_of(kind), CANDIDATES, SETTINGS) for kind in ROWS]
    together = cohort_of(model, searches, tmp_path / "all", tokens_per_pass=200).run()
    for kind, found in zip(ROWS, together, strict=True):
        alone = train(model, kind_of(kind), CANDIDATES, tmp_path / kind, SETTINGS)
        for one, other in zip(found, alone, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("kind", ["choice", "qa", "multilabel"])
def test_cached_equals_computed(kind, family, backbone, kind_of, tmp_path):
    model, task = backbone(family), kind_of(kind, family)
    trunks = Trunks(model, tmp_path / "trunk", 10**9)
    plain = train(model, task, CANDIDATES, tmp_path / "plain", SETTINGS)
    cached = train(model, task, CANDIDATES, tmp_path / "cached", SETTINGS, trunks=trunks)
    assert len(list((tmp_path / "trunk").glob("*.trunk"))) == 2  # layers 1 and 2; train and dev hold the same rows
    for one, other in zip(plain, cached, strict=True):
        assert_same(one, other, atol=1e-5)


@pytest.mark.parametrize("kind", ROWS)
def test_order_padding_and_company_change_no_answer(kind, backbone, kind_of, tmp_path):
    """A row alone, all rows at once, in batches of other sizes; members together and each alone."""
    model, task = backbone("bert"), kind_of(kind)
    trained = train(model, task, CANDIDATES, tmp_path, SETTINGS)
    whole = answer_together(model, task, "test", trained, pooling="mean")
    assert whole.logits.std() > 0
    for rows_per_batch in (1, 3, 7):
        again = answer_together(model, task, "test", trained, pooling="mean", rows_per_batch=rows_per_batch)
        assert torch.allclose(again.logits, whole.logits, atol=1e-5, rtol=1e-4)
    for k, one in enumerate(trained):
        alone = answer_together(model, task, "test", [one], pooling="mean")
        assert torch.allclose(alone.probabilities[0], whole.probabilities[k], atol=1e-5)


@pytest.mark.parametrize("kind", ROWS)
def test_the_loss_told_is_the_loss_trained(kind, backbone, kind_of, tmp_path):
    """What a batch computes of whole rows is what dev tells of them."""
    model, task = backbone("bert"), kind_of(kind)
    (one,) = train(model, task, CANDIDATES[:1], tmp_path, SETTINGS)
    answers = answer_together(model, task, "dev", [one], pooling="mean")
    rows = task.encoded["dev"].take(range(len(task.encoded["dev"])))
    from pipeline.model import PromptedModel
    from pipeline.prompts import PromptBank
    from pipeline.tasks import HeadBank

    heads = HeadBank([task.head("mean")], model.info.width, [0])
    heads.put(0, one.weight, one.bias)
    whole = PromptedModel(model, PromptBank([one.prompt], model.info.layers), heads)
    nobody = [0] * len(rows)
    with torch.no_grad():
        loss = whole(collate(rows, prompt=nobody, head=nobody, pad_token_id=task.pad_token_id)).loss
    assert loss.shape == (len(rows),)
    per_row = answers.evidence(task.right("dev"))
    told = type(per_row)(per_row.logs[0], per_row.weight, per_row.unit).loss(len(rows))
    assert torch.allclose(loss, told, atol=1e-5)
    if kind not in ("token", "srl"):  # whose rows weigh as many words as they have
        assert float(loss.mean()) == pytest.approx(answers.loss(task.right("dev"))[0], abs=1e-5)


def test_the_losses_by_hand():
    zero = torch.zeros(1, dtype=torch.int64)
    of = {name: kind.scale for name, kind in TASK_TYPES.items()}
    labels = of["multilabel"].evidence(torch.tensor([[0.0, 2.0]]), Gold(zero, torch.tensor([[1.0, 0.0]])), zero)
    p = torch.sigmoid(torch.tensor(2.0))
    assert float(labels.loss(1)) == pytest.approx(float(-(torch.tensor(0.5).log() + (1 - p).log()) / 2))
    number = of["regression"].evidence(torch.tensor([[0.0, 0.0]]), Gold(zero, torch.tensor([[0.3, 0.7]])), zero)
    assert float(number.loss(1)) == pytest.approx(0.6931, abs=1e-4)
    units = torch.tensor([0, 0, 1, 1, 1])
    scores, right = torch.tensor([[1.0], [3.0], [0.0], [0.0], [0.0]]), torch.tensor([[0.0], [1], [1], [0], [1]])
    choice = of["choice"].evidence(scores, Gold(units, right), units)
    expected = [-torch.tensor([1.0, 3.0]).log_softmax(0)[1].item(), -torch.tensor(2 / 3).log().item()]
    assert choice.loss(2).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ROWS)
def test_an_ensemble_averages_its_members(kind, backbone, kind_of, tmp_path):
    model, task = backbone("bert"), kind_of(kind)
    trained = train(model, task, CANDIDATES, tmp_path, SETTINGS)
    answers, rows = answer_together(model, task, "dev", trained, pooling="mean"), SplitRows(task, "dev")
    p = answers.probabilities
    chosen = choose_ensemble(
        ranked(trained),
        p,
        answers.evidence(task.right("dev")),
        answers.offsets,
        3,
        lambda told, of: rows.judge(told, rows=of).score,
        task.kind.combinations,
    )
    assert chosen.combine in task.kind.combinations
    assert chosen.score == rows.judge(COMBINATIONS[chosen.combine](p[list(chosen.members)])).score
    mean = COMBINATIONS["mean"](p)
    assert torch.allclose(mean, p.mean(0))
    whole = torch.from_numpy(answers.offsets[:-1])
    if kind == "choice":  # the scores of a row's choices still add up to one
        assert torch.allclose(
            torch.segment_reduce(mean[:, 0], "sum", lengths=whole.diff(append=torch.tensor([len(mean)]))), torch.ones(4)
        )
    if kind not in ("multilabel", "choice", "qa"):
        assert torch.allclose(mean.sum(-1), torch.ones(len(mean)))


@pytest.mark.parametrize("kind", ROWS)
def test_distilling_comes_closer_to_the_teachers(kind, backbone, kind_of, tmp_path):
    model, task = backbone("bert"), kind_of(kind)
    teachers = train(model, task, CANDIDATES, tmp_path, SETTINGS)
    settings = DistilSettings(steps=30, rows=4, warmup=0.1, evaluate_every=30, seed=0, pooling="mean")
    taught = COMBINATIONS["mean"](answer_together(model, task, "train", teachers, pooling="mean").probabilities)

    def distance(one):
        answers = answer_together(model, task, "train", [one], pooling="mean")
        gold = Gold(torch.zeros(len(taught), dtype=torch.int64), taught, soft=True)
        return answers.loss(gold)[0]

    learnt = distil(model, task, teachers, "mean", teachers[0], settings, LocalWorld(tmp_path), Trunks(model))
    assert learnt.score >= teachers[0].score - 1e-6
    if learnt.step:  # dev liked the later state
        assert distance(learnt) < distance(teachers[0])


@pytest.mark.parametrize("distil", [False, True])
def test_pretraining_mixes_all_types(distil, backbone, kind_of, tmp_path):
    """With teachers, too: students then learn from the evidence of every type."""
    model = backbone("bert")
    settings = PretrainSettings(
        steps=6, rows=9, learning_rate=1e-2, warmup=0.1, exponent=0.5, cap=None, seed=0, length=4, init="normal",
        first_layer=0, pooling="mean", nested=True, checkpoint_every=0,
        kind="factors" if distil else "shared", distil=distil,
    )  # fmt: skip
    tasks = {kind: kind_of(kind) for kind in ROWS}
    training = Pretraining(model, tasks, settings, LocalWorld(tmp_path))
    passes = training.passes_at(0)
    heads = [head for batch in passes for head in batch.head.tolist()]
    assert len(passes) > 1 and sum(len(batch.weight) for batch in passes) == 9
    assert sum(batch.size for batch in passes) > 9 and len(set(heads)) == 9
    bank, heads = training.model.bank, training.model.heads
    trained = [bank.encoders[0].shared if distil else bank.encoders[0].value, *heads.weights]
    before = [tensor.detach().clone() for tensor in trained]
    shared = training.run()
    assert set(shared.heads) == set(ROWS) and shared.curve[-1][1] > 0
    assert all(not torch.equal(one, other) for one, other in zip(before, trained, strict=True))


def test_input_prompts_answer_every_type_in_one_cohort_as_alone(backbone, kind_of, tmp_path):
    """Among windows and choices, read where a template says."""
    model, recipe = backbone("bert"), Recipe("p_tuning", "mlp", "{1} text label {1}")
    candidates = [Candidate("scratch", 2, 0, 2e-2, 0), Candidate("scratch", 3, 0, 2e-2, 1)]

    def searches(kinds):
        start = Start(None, {}, "normal", recipe)
        return [Search(kind_of(kind, room=4), candidates, start, SETTINGS) for kind in kinds]

    def run(kinds, name, **how):
        return Cohort(model, searches(kinds), CohortSettings("mean", **how), LocalWorld(tmp_path / name)).run()

    for kind, found in zip(ROWS, run(ROWS, "all", tokens_per_pass=200), strict=True):
        (alone,) = run([kind], kind)
        for one, other in zip(found, alone, strict=True):
            assert_same(one, other)
            assert one.layout == recipe.layout and one.prompt.dim() == 2
