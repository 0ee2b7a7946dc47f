"""One prompt that learns to answer as an ensemble does (Hinton et al. 2015, section 2, at temperature 1).

The ensemble's probabilities on the training rows are computed once, in one forward pass for all members; the student,
the task's best single prompt, then trains on them instead of the gold labels. Dev decides which of its states is kept,
the one it began with included: distilling never makes it worse on dev.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.backbone import Backbone
from pipeline.model import PromptedModel
from pipeline.prompts import COMBINATIONS, Recipe
from pipeline.tasks import Answers, Batch, Gold, HeadBank, PreparedTask
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Trained, bank_of
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.evaluate import look_at_dev, split_rows
from pipeline.training.loop import Trainer
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import World


@dataclass(frozen=True)
class DistilSettings:
    """How the student trains: as a candidate does, see `SearchSettings`."""

    steps: int
    rows: int
    warmup: float
    evaluate_every: int
    seed: int
    pooling: str
    head_share: float = 1.0


def distil(
    backbone: Backbone,
    task: PreparedTask,
    teachers: Sequence[Trained],
    combine: str,
    student: Trained,
    settings: DistilSettings,
    world: World,
    trunks: Trunks,
) -> Trained:
    """Teaches the student, and returns it at its best dev score.

    Args:
        teachers: the ensemble's members, one that counts twice twice. combine: how they answer together.
    """
    taught = answer_together(backbone, task, "train", teachers, pooling=settings.pooling, trunks=trunks)
    targets = COMBINATIONS[combine](taught.probabilities)  # [A, C]
    how = SearchSettings(settings.steps, settings.rows, settings.warmup, settings.evaluate_every, 0, settings.seed)
    start = Start(None, {}, "", Recipe(layout=student.layout))
    search = Search(task, [student.candidate], start, how)  # its clock, its rows, its book of dev scores
    bank = bank_of([student], backbone.info)
    heads = HeadBank([task.head(settings.pooling)], backbone.info.width, [0])
    heads.put(0, student.weight, student.bias)
    model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device))
    trainer = Trainer(model, world)
    trainer.enter(0, [0], student.candidate.learning_rate, head_share=settings.head_share)

    def look() -> None:
        ((score, loss),) = look_at_dev(model, task, [(0, 0)], 256, trunks)
        search.record(0, score, loss, (bank.bake(0), *heads.bake(0)))

    look()
    while not search.done:
        rows = search.rows()
        batch = split_rows(model, task, "train", rows, search.first_layers, trunks)
        wanted = torch.cat([targets[taught.offsets[row] : taught.offsets[row + 1]] for row in rows]).to(backbone.device)

        def as_taught(answers: Answers, batch: Batch, wanted: Tensor = wanted) -> Tensor:
            gold = taught_gold(wanted)
            return task.kind.scale.evidence(answers.logits[0], gold, answers.unit[0]).mean_loss()

        trainer.update([batch], {0: search.schedule.factor(search.step)}, as_taught)
        search.step += 1
        if search.looks_at_dev:
            look()
        best = search.progress[0].score
        note = f"distilling {len(teachers)} members, best dev {best:.3f}"
        world.event(stage="ensemble", task=task.name, done=search.step, total=settings.steps, note=note)
    return search.trained()[0]


def taught_gold(wanted: Tensor) -> Gold:
    """A teacher's probabilities [A, C] as what is right."""
    return Gold(torch.zeros(len(wanted), dtype=torch.int64, device=wanted.device), wanted, soft=True)
