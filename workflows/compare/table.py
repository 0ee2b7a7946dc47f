"""What a comparison came to: a row per task and method, read from the pieces that are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from statistics import mean, pstdev
from typing import Any

from pipeline.training.adaptation.finetune import FINETUNE
from workflows.compare.pieces import Pieces
from workflows.compare.work import SCORES
from workflows.stages.stage import read_record, standing
from workflows.summary import Spread


@dataclass(frozen=True)
class Row:
    """A method on a task.

    Args:
        test, dev: over its seeds; every seed at the step that was best on dev. parameters: trained numbers.
        kept: those that are left when an encoder is baked. seconds: of training one seed, the looks at dev included.
        steps: that each seed took. learning_rate: as chosen on dev. best: the highest mean on test of the task's rows.
    """

    task: str
    method: str
    metric: str
    test: Spread
    dev: Spread
    parameters: int
    kept: int
    seconds: float
    steps: int
    learning_rate: float
    length: int
    best: bool = False


@dataclass(frozen=True)
class Comparison:
    """A comparison's results.

    Args:
        own: the config's method. budget: in words. rows: those that are there, task after task.
        failed: task/method → why. folder: where its pieces are. page: the picture's path.
    """

    name: str
    own: str
    budget: str
    rows: tuple[Row, ...]
    failed: Mapping[str, str]
    folder: str
    page: str
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some pieces failed and the rest are done, 1 all failed."""
        if not self.failed:
            return 0
        return 3 if self.rows else 1

    @property
    def choice(self) -> str | None:
        """The method to go on with: of those whose result can be registered the best on dev, mean over the tasks that
        all of them did."""
        methods = {row.method for row in self.rows} - {FINETUNE}
        by_task = {task: {r.method: r.dev.mean for r in self.rows if r.task == task} for task in self._tasks}
        common = [own for own in by_task.values() if methods <= own.keys()]
        return max(sorted(methods), key=lambda m: mean(own[m] for own in common)) if methods and common else None

    def means(self) -> dict[str, float]:
        """Method → its mean on test over all tasks, of the methods that did all of them."""
        scores = {
            m: [r.test.mean for r in self.rows if r.method == m] for m in dict.fromkeys(r.method for r in self.rows)
        }
        return {method: mean(own) for method, own in scores.items() if len(own) == len(self._tasks)}

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "means": self.means(), "exit_code": self.exit_code}

    @property
    def _tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.task for row in self.rows))


def rows_of(pieces: Pieces) -> tuple[Row, ...]:
    """The rows of the pieces that are done, the best of each task marked."""
    rows = []
    for (task, method), stage in pieces.stages.items():
        if standing(pieces.ground.folder, stage).skipped:
            scores = read_record(stage.folder(pieces.ground.folder) / SCORES)
            assert scores is not None
            rows.append(row_of(task, method, scores))
    highest = {task: max(row.test.mean for row in rows if row.task == task) for task in {row.task for row in rows}}
    return tuple(replace(row, best=row.test.mean == highest[row.task]) for row in rows)


def row_of(task: str, method: str, scores: Mapping[str, Any]) -> Row:
    """A row, from what a piece's worker wrote."""
    metric, seeds = scores["metric"], scores["seeds"]
    return Row(
        task=task,
        method=method,
        metric=metric,
        test=_spread([seed["test"][metric] for seed in seeds]),
        dev=_spread([seed["dev"] for seed in seeds]),
        parameters=scores["parameters"]["trained"],
        kept=scores["parameters"]["kept"],
        seconds=scores["seconds"],
        steps=scores["steps"],
        learning_rate=scores["learning_rate"],
        length=scores["length"],
    )


def _spread(values: list[float]) -> Spread:
    return Spread(mean(values), pstdev(values), len(values))
