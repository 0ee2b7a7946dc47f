"""Pretraining with factors and with a prompt per task."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.prompts import Recipe
from pipeline.training.passes import splitting
from pipeline.training.pretraining.pretrain import Pretraining
from pipeline.training.pretraining.similarity import nearest_source, similarities
from pipeline.training.results import load_shared, save_shared
from pipeline.training.starts import mean_factor
from pipeline.training.world import LocalWorld
from tests.training.pretraining.test_pretrain import SETTINGS, Rank, gradients
from tests.training.worlds import Interrupted, Stop

KINDS = {
    "factors": replace(SETTINGS, kind="factors", checkpoint_every=2),
    "taught": replace(SETTINGS, kind="factors", distil=True, checkpoint_every=2),
    "retrieval": replace(SETTINGS, kind="retrieval", checkpoint_every=2),
}
TUNING = Recipe("prompt_tuning", layout="front")


@pytest.fixture
def tasks(prepared):
    return {name: prepared(name, room=8) for name in ("intent", "slots", "same_issue")}


def same(one, other):
    assert torch.equal(one.prompt, other.prompt) and one.curve == other.curve and one.similarity == other.similarity
    for left, right in ((one.heads, other.heads), (one.factors, other.factors)):
        assert list(left) == list(right)
        assert all(torch.equal(a, b) for k in left for a, b in zip(left[k], right[k], strict=True))
    assert list(one.own) == list(other.own) and all(torch.equal(one.own[k], other.own[k]) for k in one.own)


@pytest.mark.parametrize("at", [3, 5, 7, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_resumed_and_saved_equals_uninterrupted_to_the_last_bit(kind, at, backbone, tasks, tmp_path):
    """Interrupted among the teachers, where students take over, and among the students."""
    model, settings = backbone("bert"), KINDS[kind]
    total = settings.steps * (1 + settings.distil)
    if at >= total:
        return
    whole = Pretraining(model, tasks, settings, LocalWorld(tmp_path / "whole"), TUNING).run()
    with pytest.raises(Stop):
        Pretraining(model, tasks, settings, Interrupted(tmp_path / "parts", at=at), TUNING).run()
    resumed = Pretraining(model, tasks, settings, LocalWorld(tmp_path / "parts"), TUNING).run()
    save_shared(tmp_path, resumed)
    same(whole, load_shared(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_workers_gives_the_same_gradients(kind, backbone, tasks):
    def of(rank, size):
        one = Pretraining(backbone("bert"), tasks, KINDS[kind], Rank(rank, size))
        return gradients(one, one.passes_at(2))

    whole, parts = of(0, 1), [of(rank, 2) for rank in (0, 1)]
    for place, expected in enumerate(whole):
        assert torch.allclose(sum(part[place] for part in parts), expected, atol=1e-5, rtol=1e-4)


def test_a_tasks_rows_move_its_own_prompt_and_factors_only(backbone, tasks, tmp_path):
    settings = replace(SETTINGS, steps=2, rows=1, warmup=0.0)
    for kind in ("retrieval", "factors"):
        one = Pretraining(backbone("bert"), tasks, replace(settings, kind=kind), LocalWorld(tmp_path / kind))
        seen = {name for step in range(2) for name, _ in one.rows.drawn(step)}
        before = [[p.clone() for p in encoder.parameters()] for encoder in one.model.bank.encoders]
        assert 0 < len(seen) < 3
        one.run()
        for name, encoder, old in zip(one.order, one.model.bank.encoders, before, strict=True):
            moved = [not torch.equal(p, q) for p, q in zip(encoder.parameters(), old, strict=True)]
            assert moved == ([name in seen] if kind == "retrieval" else [True, name in seen, name in seen])


@pytest.mark.parametrize("cost", [0, 10**6])
def test_students_learn_from_gold_and_from_their_teachers_who_learn_no_more(
    cost, backbone, tasks, tmp_path, monkeypatch
):
    """The objective worked out row by row, in one pass and in several; teachers as their last step left them."""
    monkeypatch.setitem(splitting.PASS_COST, "cpu", cost)
    settings = KINDS["taught"]
    one = Pretraining(backbone("bert"), tasks, settings, LocalWorld(tmp_path))
    changed = one._change_over
    left = []
    one._change_over = lambda: (left.extend(p.clone() for k in range(3) for p in one._of_teacher(3 + k)), changed())
    one.run()
    now = [p for k in range(3) for p in one._of_teacher(3 + k)]
    assert len(left) == 9 and all(torch.equal(p, q) for p, q in zip(left, now, strict=True))
    one.step = settings.steps
    passes = one.passes_at(settings.steps)
    assert (len(passes) == 1) == bool(cost)
    with torch.no_grad():
        objective = one._as_taught(passes)
        for batch in passes:
            student = one.model(batch)
            found = float(objective(student, batch))
            teacher = one.model(replace(batch, prompt=batch.prompt + 3, head=batch.head + 3))
            expected = float((student.loss * batch.weight).sum())
            for head in range(len(student.logits)):
                for row in student.row[student.place[head]].unique().tolist():
                    own = student.row[student.place[head]] == row
                    wanted = teacher.logits[head][own].softmax(-1)
                    cross = -(wanted * student.logits[head][own].log_softmax(-1)).sum(-1)
                    expected += float(cross.mean() * batch.weight[row])
            assert found == pytest.approx(expected, rel=1e-5)


def test_the_most_similar_source_is_the_one_with_the_same_rows(backbone, prepared, tmp_path):
    """A target with another task's rows under another name finds it among three."""
    intent = prepared("intent", room=8)
    tasks = {"twin": replace(intent, name="twin"), "slots": prepared("slots", room=8), "intent": intent}
    tasks["same_issue"] = prepared("same_issue", room=8)
    settings = replace(
        SETTINGS, kind="retrieval", steps=40, rows=24, nested=False, sources=("intent", "slots", "same_issue")
    )
    shared = Pretraining(backbone("bert"), tasks, settings, LocalWorld(tmp_path), TUNING).run()
    assert nearest_source("twin", shared.similarity, settings.sources) == "intent"
    assert nearest_source("intent", shared.similarity, settings.sources) != "intent"
    matrix = torch.tensor([list(row.values()) for row in shared.similarity.values()])
    assert torch.allclose(matrix, matrix.T, atol=1e-6) and torch.allclose(matrix.diagonal(), torch.ones(4), atol=1e-5)


def test_similarity_is_of_what_training_added():
    start = torch.full((3, 4), 9.0)
    a, b, c = torch.eye(4)[:3] * torch.tensor([[2.0], [1.0], [5.0]])
    found = similarities([start + a, start + b, start + 3 * a, start + c - a], start)
    assert found[0].tolist() == pytest.approx([1.0, 0.0, 1.0, -2 / 29**0.5], abs=1e-5)


def test_the_mean_factor_is_where_unseen_tasks_begin():
    u, v = mean_factor([(torch.ones(2), torch.zeros(3)), (torch.zeros(2), torch.ones(3))])
    assert u.tolist() == [0.5, 0.5] and v.tolist() == [0.5] * 3
