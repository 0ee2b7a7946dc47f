"""BLEU, chrF and ROUGE against cases worked out by hand, and as sums over rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tasks import TASK_TYPES
from pipeline.tasks.scoring.resample import difference, interval
from pipeline.tasks.scoring.texts import TEXT_METRICS, overlap, text_counts, text_figures

CAT = "the cat sat on the mat"


def test_bleu_by_hand():
    # 1-grams 5 of 6 (the second "the" is not in the text), 2-grams 3 of 5, 3-grams 2 of 4, 4-grams 1 of 3; no brevity
    told = overlap([["the cat sat on a mat"]], [CAT])
    assert told["bleu"] == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_bleu_brevity_and_the_closest_reference():
    # Four of the reference's six words, all in order: precisions 1, brevity exp(1 - 6/4).
    assert overlap([[CAT]], ["the cat sat on"])["bleu"] == pytest.approx(math.exp(1 - 6 / 4))
    # A reference of the text's own length takes the penalty away, whatever it says.
    assert overlap([[CAT, "one two three four"]], ["the cat sat on"])["bleu"] == pytest.approx(1.0)


def test_bleu_is_of_the_corpus_not_a_mean_of_rows():
    gold, told = [[CAT], ["one two three four five"]], [CAT, "one two three six seven"]
    # matches 6+3, 5+2, 4+1, 3+0 of 6+5, 5+4, 4+3, 3+2
    assert overlap(gold, told)["bleu"] == pytest.approx((9 / 11 * 7 / 9 * 5 / 7 * 3 / 5) ** 0.25)


def test_chrf_by_hand():
    # Texts without blanks "abc" and "abd": 1-grams 2 of 3, 2-grams 1 of 2, 3-grams 0 of 1, higher orders in neither.
    told = overlap([["abd"]], ["abc"])["chrf"]
    precision = recall = (2 / 3 + 1 / 2 + 0) / 3
    assert told == pytest.approx(5 * precision * recall / (4 * precision + recall))


def test_chrf_weighs_recall_more():
    whole, half = overlap([["abcdef"]], ["abcdefabcdef"])["chrf"], overlap([["abcdefabcdef"]], ["abcdef"])["chrf"]
    assert whole > half


def test_rouge_by_hand():
    told = overlap([["the cat sat on a mat"]], ["the mat sat on the cat"])
    assert told["rouge1"] == pytest.approx(5 / 6)  # the, mat, sat, on, cat of six each
    assert told["rouge2"] == pytest.approx(2 / 5)  # "the cat" and "sat on"
    assert told["rougeL"] == pytest.approx(3 / 6)  # the sat on


def test_rouge_takes_the_best_reference_and_the_mean_of_rows():
    told = overlap([["no word", CAT], ["a dog"]], [CAT, "a cat"])
    assert told["rouge1"] == pytest.approx((1 + 1 / 2) / 2)


def test_nothing_written_scores_nothing():
    assert overlap([[CAT], ["hello"]], ["", ""]) == dict.fromkeys(TEXT_METRICS, 0.0)


WORDS = st.lists(st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "."]), min_size=1, max_size=8).map(" ".join)


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=3), WORDS), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_sums_over_rows_give_the_score_of_the_split(rows):
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    gold, told = [one for one, _ in rows], [text for _, text in rows]
    most = max(map(len, gold))
    streams = [[one[k] if k < len(one) else None for one in gold] for k in range(most)]
    for metric, library in (("bleu", BLEU(force=True)), ("chrf", CHRF())):
        sums = text_counts(metric, gold, told).sum(0)
        assert float(text_figures(metric, sums)) == pytest.approx(library.corpus_score(told, streams).score / 100)


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_intervals_hold_the_score_and_see_a_difference(metric):
    gold = [[CAT, "a cat is on a mat"], ["one two three four five"], ["where is my parcel today"]] * 5
    good, bad = [one[0] for one in gold], ["a cat two parcel on my mat"] * 15
    scorer = TASK_TYPES["generation"].score
    found = interval(metric, gold, bad, scorer)
    assert found is not None and found.low <= scorer(metric, gold, bad)[metric] <= found.high < 1
    gap = difference(metric, gold, [good], [bad], scorer)
    assert gap is not None and gap.low > 0
    assert np.isclose(scorer(metric, gold, good)[metric], 1.0)
