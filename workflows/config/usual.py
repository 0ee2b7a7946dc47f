"""What a search does where its config says auto: it depends on what the task answers, and on the method."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workflows.config.training import Adaptation, AdaptSettings

LOOKS = 10
"""At dev, evenly over the steps."""


@dataclass(frozen=True)
class Usual:
    """What suits a kind of task: see `CandidateSettings`."""

    lengths: tuple[int, ...]
    learning_rates: tuple[float, ...]
    head_share: float
    steps: int


SENTENCES = Usual(lengths=(8, 16, 32), learning_rates=(1e-2,), head_share=1.0, steps=200)

WORDS = Usual(lengths=(32, 64), learning_rates=(1e-1,), head_share=0.03, steps=500)
"""Deep prompts where every word has a tag. A linear head learns the tags of a few hundred rows by heart from the frozen
features (training F1 0.999) before the prompt has moved, and dev stays near what a head alone reaches. So the prompt
learns fast and its head slowly. On 500 rows of snips_slots, dev: 0.580 as sentences train, 0.617 with four times the
steps, 0.628 at 3e-2 for both, 0.646 with a tenth of it for the head, 0.673 as here; 0.446 at 3e-1. 128 places do no
better than 32."""


def settle(settings: AdaptSettings, task_type: str, method: str) -> Adaptation:
    """The settings of a task of a type, with nothing but the depths left to decide."""
    from pipeline.tasks import TASK_TYPES

    kind = TASK_TYPES.get(task_type)  # an unknown one is told elsewhere
    words = kind is not None and kind.words and method == "deep"
    given = {key: getattr(settings, key) for key in AdaptSettings.model_fields}
    usual = asdict(WORDS if words else SENTENCES)
    if given["learning_rates"] != "auto":
        usual["head_share"] = 1.0  # the usual share goes with the usual rates
    settled = {key: value if given[key] == "auto" else given[key] for key, value in usual.items()}
    if given["evaluate_every"] == "auto":
        settled["evaluate_every"] = max(1, settled["steps"] // LOOKS)
    return Adaptation.model_construct(**{**given, **settled})
