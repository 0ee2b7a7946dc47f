"""What a search does where its config says auto: it depends on what the task answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workflows.config.training import Adaptation, AdaptSettings

LOOKS = 10
"""At dev, evenly over the steps: fewer miss the best step, more cost as much as the training."""


@dataclass(frozen=True)
class Usual:
    """What suits a kind of task: see `CandidateSettings`."""

    lengths: tuple[int, ...]
    learning_rates: tuple[float, ...]
    head_share: float
    steps: int


SENTENCES = Usual((8, 16, 32), (1e-2,), 1.0, 200)
WORDS = Usual((32, 128), (3e-2,), 0.03, 2000)


def settle(settings: AdaptSettings, task_type: str) -> Adaptation:
    """The settings of a task of a type, with nothing but the depths left to decide."""
    from pipeline.tasks import TASK_TYPES

    kind = TASK_TYPES.get(task_type)  # an unknown one is told elsewhere
    usual = SENTENCES if kind is None or kind.pooled else WORDS
    given = {key: getattr(settings, key) for key in AdaptSettings.model_fields}
    settled = {key: value if given[key] == "auto" else given[key] for key, value in asdict(usual).items()}
    if given["evaluate_every"] == "auto":
        settled["evaluate_every"] = max(1, settled["steps"] // LOOKS)
    return Adaptation(**{**given, **settled})
