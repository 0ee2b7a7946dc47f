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

WORDS = Usual(lengths=(32, 64), learning_rates=(1e-1,), head_share=0.1, steps=500)
"""Deep prompts where every word has a tag. A linear head learns the tags of a few hundred rows by heart from the frozen
features (training F1 0.999) before the prompt has moved, and dev stays near what a head alone reaches. So the prompt
learns fast and its head slowly: 500 rows of snips_slots, dev, 0.580 as sentences train, 0.628 at 3e-2 for both, 0.673
at 1e-1 with 3e-3 for the head. Too slow a head leaves rare tags alone: with tags read as BIO, 800 rows and 300 steps,
shares of 0.03, 0.1, 0.3 come to 0.773, 0.803, 0.787 on snips_slots, 0.506, 0.568, 0.574 on ewt_srl (54 tags), 0.852,
0.853, 0.807 on restaurant8k_slots, 0.460, 0.460, 0.423 on wnut17. One seed each."""

PAIRS = Usual(lengths=(8, 16, 32), learning_rates=(3e-2,), head_share=1.0, steps=300)
"""Deep prompts where the answer lies between two texts: pairs, choices, questions about a text. 800 rows, 300 steps,
16 places, best on dev, one seed, 1e-2 as sentences train against 3e-2: snli 0.630, 0.640; qnli 0.630, 0.680; ecare
0.585, 0.665; qamr, 32 places, 0.377, 0.462, and 0.470 at 2e-2, 0.414 at 5e-2, 0.226 at 1e-1. A slower head, which
tagging needs, does harm (qamr 0.377). Longer training, one seed: qamr 0.480 to 0.507 with 500 steps, snli 0.640 to
0.660 with 600."""


WRITTEN = Usual(lengths=(8, 16, 32), learning_rates=(1e-2, 1e-1), head_share=1.0, steps=300)
"""Deep prompts where a text is written. No head learns beside the prompt, so that all depends on it, and how fast it
may learn on the backbone: dev decides. On a decoder of 260,000 numbers, e2e_clean, 32 places, one seed, a token of dev
costs 3.28 at 1e-2 after 300 steps; after 100 steps 3.42 at 3e-2, 2.97 at 1e-1, 2.78 at 3e-1."""

PROMPTS_OF_ALL_LAYERS = ("deep", "prefix")
"""What the four above suit. Prefix tuning's network learns at a share of the rate (`pipeline.prompts.paces`): at these
rates it has on dev, 800 rows, 300 steps, one seed, 0.768 on snips_slots and 0.561 on ewt_srl. At 1 / inputs alone it
came to 0.780 and 0.000, at the full rate, the best of four, to 0.654 and 0.000."""


def settle(settings: AdaptSettings, task_type: str, method: str) -> Adaptation:
    """The settings of a task of a type, with nothing but the depths left to decide."""
    from pipeline.tasks import TASK_TYPES

    kind = TASK_TYPES.get(task_type)  # an unknown one is told elsewhere
    suits = SENTENCES
    if kind is not None and method in PROMPTS_OF_ALL_LAYERS:
        suits = WORDS if kind.words else PAIRS if kind.pair else WRITTEN if kind.written else SENTENCES
    given = {key: getattr(settings, key) for key in AdaptSettings.model_fields}
    usual = asdict(suits)
    if given["learning_rates"] != "auto":
        usual["head_share"] = 1.0  # the usual share goes with the usual rates
    settled = {key: value if given[key] == "auto" else given[key] for key, value in usual.items()}
    if given["evaluate_every"] == "auto":
        settled["evaluate_every"] = max(1, settled["steps"] // LOOKS)
    return Adaptation.model_construct(**{**given, **settled})
