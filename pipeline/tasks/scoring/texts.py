"""How good written texts are beside their references: BLEU and chrF by sacrebleu, ROUGE by rouge-score, in 0..1.

A row may have any number of references. BLEU (Papineni et al. 2002) and chrF (Popović 2015) are of a whole split: sums
over its rows go into them, as `row_counts` gives them. ROUGE (Lin 2004) is a mean over rows, of each the F-measure with
the reference that suits it best.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

OF_SUMS = ("bleu", "chrf")
ROUGE = ("rouge1", "rouge2", "rougeL")
TEXT_METRICS = (*OF_SUMS, *ROUGE)


def overlap(gold: Sequence[Sequence[str]], predicted: Sequence[str]) -> dict[str, float]:
    """All figures of texts. gold: each row's references."""
    found = {metric: float(text_figures(metric, text_counts(metric, gold, predicted).sum(0))) for metric in OF_SUMS}
    means = _rouge(gold, predicted).mean(0)
    return found | {name: float(mean) for name, mean in zip(ROUGE, means, strict=True)}


def text_counts(metric: str, gold: Sequence[Sequence[str]], predicted: Sequence[str]) -> NDArray[np.float64]:
    """[R, C] what each row adds to the sums that a text metric is made of."""
    if metric in ROUGE:
        each = _rouge(gold, predicted)[:, ROUGE.index(metric)]
        return np.stack([each, np.ones_like(each)], axis=1)
    most = max(map(len, gold))
    padded = [[*one, *[None] * (most - len(one))] for one in gold]  # sacrebleu's way to have fewer references
    streams = [list(stream) for stream in zip(*padded, strict=True)]
    # The sums of each row and the score of sums, as sacrebleu's own paired bootstrap (its `significance`) takes them.
    return np.array(_sacrebleu(metric)._extract_corpus_statistics(list(predicted), streams), dtype=float)


def text_figures(metric: str, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The metric from sums [..., C] of `text_counts`."""
    flat = sums.reshape(-1, sums.shape[-1])
    if metric in ROUGE:
        each = flat[:, 0] / flat[:, 1]
    else:
        each = np.array([_sacrebleu(metric)._compute_score_from_stats(one.tolist()).score / 100 for one in flat])
    return each.reshape(sums.shape[:-1])


def _rouge(gold: Sequence[Sequence[str]], predicted: Sequence[str]) -> NDArray[np.float64]:
    """[R, 3] F-measures."""
    scorer = _rouge_scorer()
    scores = [scorer.score_multi(list(one), text) for one, text in zip(gold, predicted, strict=True)]
    return np.array([[score[name].fmeasure for name in ROUGE] for score in scores])


@cache
def _sacrebleu(metric: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    # `force`: that texts look tokenised already is the data's affair, and warnings of it would be said once per call
    return BLEU(force=True) if metric == "bleu" else CHRF()


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE))
