"""Our side: searches as a run makes them, on one backbone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.backbone import Backbone, load_backbone, resolve_dtype
from pipeline.tasks import PreparedTask
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.search import Search, SearchSettings
from pipeline.training.candidates import Candidate, Trained
from pipeline.training.evaluation.answering import answer_together
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.starts import Start
from pipeline.training.trunks import Trunks
from pipeline.training.world import LocalWorld
from tests.benchmarks.device import DEVICE
from tests.benchmarks.search.setting import BATCH, EPOCHS

TRUNK_BYTES = 8 * 10**9


@cache
def backbone(dtype: str = "auto") -> Backbone:
    """MiniLM, by default in the dtype that a run would choose here."""
    return load_backbone("minilm", dtype=resolve_dtype(dtype), device=DEVICE)


def search(
    tasks: Sequence[PreparedTask],
    candidates: Sequence[Candidate],
    *,
    halving: int = 4,
    epochs: int = EPOCHS,
    trunk: Path | None = None,
    room: int = 64,
) -> tuple[list[list[Trained]], Cohort]:
    """Trains candidates for each task in one cohort; the trunk cache begins empty unless a folder is given."""
    with TemporaryDirectory() as folder:
        model = backbone()
        searches = []
        for task in tasks:
            epoch = -(-len(task.encoded["train"]) // BATCH)
            how = SearchSettings(epochs * epoch, BATCH, 0.1, epoch, 0, 0, halving)
            searches.append(Search(task, candidates, Start(None, {}, "vocabulary"), how))
        trunks = Trunks(model, trunk or Path(folder) / "trunk", TRUNK_BYTES)
        settings = CohortSettings("mean", room, checkpoint_every=0)
        cohort = Cohort(model, searches, settings, LocalWorld(Path(folder)), trunks)
        return cohort.run(), cohort


def test_scores(task: PreparedTask, trained: Sequence[Trained]) -> list[float]:
    """Each candidate's score on test, in one pass."""
    answers = answer_together(backbone(), task, "test", trained, pooling="mean")
    rows = SplitRows(task, "test")
    return [rows.judge(one).score for one in answers.probabilities]
