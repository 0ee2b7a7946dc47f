"""What runs in a worker for a piece of a comparison: all seeds of one method train, and what dev chose is scored on
test, once, the same way for every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.tasks import HeadBank, PreparedTask
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.finetune import FINETUNE, FineTuning, Trainable
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.adaptation.timed import TimedSearch
from pipeline.training.candidates import Candidate, Trained
from pipeline.training.choice.select import best_cell
from pipeline.training.evaluation.judging import SplitRows, Told
from pipeline.training.results import load_shared
from pipeline.training.starts import Start
from pipeline.training.world import World, Writer, save_json
from workflows.stages.replica import Payload, Replica
from workflows.stages.workers import start_of

SCORES = "scores.json"


def compare(replica: Replica, payload: Payload, world: World) -> dict[str, Any]:
    """Trains and scores a method on a task."""
    task, told = PreparedTask.load(Path(payload["task"])), _Heard(world, f"{payload['name']}/{payload['method']}")
    trained = _finetuned if payload["method"] == FINETUNE else _prompted
    found = trained(replica, task, payload, told)
    replica.check()
    result = {"task": task.name, "method": payload["method"], "metric": task.metric, **found}
    save_json(Path(payload["out"]) / SCORES, result)
    return {"dev": result["dev"], "seconds": result["seconds"]}


def _prompted(replica: Replica, task: PreparedTask, payload: Payload, world: World) -> dict[str, Any]:
    """All candidates in one cohort, as a run trains them."""
    began = time.monotonic()
    candidates = [Candidate(**one) for one in payload["candidates"]]
    shared = load_shared(Path(payload["shared"])) if payload["shared"] else None
    start = start_of(payload["prompt"], shared, task.name, payload["sources"])
    search = _search(task, candidates, start, payload)
    cohort = Cohort(replica.backbone, [search], _settings(replica), world, replica.trunks)
    (trained,) = cohort.run()
    seconds = time.monotonic() - began
    chosen = best_cell(trained, candidates[0].start)

    def told(split: str) -> Any:
        return replica.told(task, split, [trained[n] for n in chosen], world, "compare")

    assert cohort.model.bank is not None
    numbers = {
        "trained": _count(cohort.model.bank.encoders[0].parameters()) + _of_head(cohort.model.heads),
        "kept": trained[0].prompt.numel() + _of_head(cohort.model.heads),
    }
    seeds = _scores(task, [trained[n] for n in chosen], told)
    return _result(trained, chosen, seeds, numbers, seconds)


def _finetuned(replica: Replica, task: PreparedTask, payload: Payload, world: World) -> dict[str, Any]:
    """One candidate after the other, each on a copy of the backbone: with all of it trained nothing can be shared."""
    candidates = [Candidate(**one) for one in payload["candidates"]]
    splits = ("dev", "test") if _looks(task) else ("test",)
    trained: list[Trained] = []
    told: list[dict[str, Told]] = []
    seconds, whole = 0.0, 0
    for candidate in candidates:
        copy = Trainable(replica.backbone.info, payload["backbone"]["dtype"], replica.backbone.device)
        began = time.monotonic()
        search = _search(task, [candidate], start_of(payload["prompt"], None, task.name, ()), payload)
        training = FineTuning(copy, search, _settings(replica), world)
        trained += training.run()[0]
        seconds += time.monotonic() - began
        # A copy is too large to be kept until dev has chosen a learning rate; only the chosen ones' answers are scored.
        told.append({split: training.told(task, split) for split in splits})
        whole = _count(copy.trained()) + _of_head(training.model.heads)
    chosen = best_cell(trained, candidates[0].start)
    seeds = _scores(task, [trained[n] for n in chosen], lambda split: [told[n][split] for n in chosen])
    numbers = {"trained": whole, "kept": whole}
    return _result(trained, chosen, seeds, numbers, seconds)


def _search(task: PreparedTask, candidates: Sequence[Candidate], start: Start, payload: Payload) -> Search:
    settings, seconds = SearchSettings(**payload["settings"]), payload["seconds"]
    if seconds is None or not settings.steps:
        return Search(task, candidates, start, settings)
    return TimedSearch(task, candidates, start, settings, seconds * len(candidates))


def _settings(replica: Replica) -> CohortSettings:
    """No checkpoints: a piece takes minutes, and its seconds are to be those of one sitting."""
    return CohortSettings(replica.pooling, checkpoint_every=0)


def _looks(task: PreparedTask) -> bool:
    """Whether dev is answered again: for a threshold, or for texts, which training held against each other by
    likelihood alone."""
    return task.kind.thresholded or task.kind.written


def _scores(task: PreparedTask, chosen: Sequence[Trained], told: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Each seed's dev and test figures; where answers depend on a threshold, dev chooses it.

    Args:
        told: split → what each of the chosen says of it.
    """
    on_dev = told("dev") if _looks(task) else None
    on_test = told("test")
    dev, test = SplitRows(task, "dev"), SplitRows(task, "test")
    seeds = []
    for k, one in enumerate(chosen):
        judged = None if on_dev is None else dev.judge(on_dev[k])
        threshold = None if judged is None else judged.threshold
        figures = test.judge(on_test[k], threshold).figures
        score = judged.score if judged is not None and task.kind.written else one.score
        facts = {"seed": one.candidate.seed, "dev": score, "step": one.step, "curve": one.curve}
        seeds.append({**facts, "threshold": threshold, "test": figures})
    return seeds


def _result(
    trained: Sequence[Trained],
    chosen: Sequence[int],
    seeds: list[dict[str, Any]],
    numbers: dict[str, int],
    seconds: float,
) -> dict[str, Any]:
    one = trained[chosen[0]].candidate
    rates: dict[str, list[float]] = {}
    for other in trained:
        rates.setdefault(f"{other.candidate.learning_rate:g}", []).append(other.score)
    return {
        "rates": {rate: sum(own) / len(own) for rate, own in rates.items()},
        "learning_rate": one.learning_rate,
        "length": one.length,
        "first_layer": one.first_layer,
        "parameters": numbers,
        "steps": round(sum(trained[n].curve[-1][0] for n in chosen) / len(chosen)),  # the last look is at the end
        "seconds": round(seconds / len(trained), 3),
        "candidates": len(trained),
        "dev": sum(seed["dev"] for seed in seeds) / len(seeds),
        "seeds": seeds,
    }


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _of_head(heads: HeadBank) -> int:
    """Numbers of a task's head; a bias that means nothing is none."""
    return _count([heads.weights[0], *([heads.biases[0]] if heads.heads[0].scale.biased else [])])


class _Heard:
    """The worker's world, which tells of a comparison's piece instead of a run's adaptation."""

    def __init__(self, world: World, name: str) -> None:
        self.rank, self.size = world.rank, world.size
        self._world, self._name = world, name

    def event(self, **fields: Any) -> None:
        self._world.event(**{**fields, "stage": "compare", "task": self._name})

    def save(self, write: Writer, step: int) -> None:
        self._world.save(write, step)

    def latest(self) -> Path | None:
        return self._world.latest()
