from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.tasks import Mixture

SIZES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1)
MIXTURES = st.builds(
    Mixture, SIZES, exponent=st.floats(0, 1.5), cap=st.none() | st.integers(1, 50), seed=st.integers(0, 3)
)
quick = settings(max_examples=40, deadline=None)


def test_rates_follow_size_exponent_and_cap() -> None:
    sizes = {"a": 100, "b": 400, "c": 10_000}
    by_size = Mixture(sizes).rates
    assert by_size == pytest.approx({"a": 100 / 10_500, "b": 400 / 10_500, "c": 10_000 / 10_500})
    capped = Mixture(sizes, exponent=0.5, cap=900).rates
    assert capped == pytest.approx({"a": 10 / 60, "b": 20 / 60, "c": 30 / 60})
    assert Mixture(sizes, exponent=0).rates == pytest.approx(dict.fromkeys("abc", 1 / 3))


@quick
@given(MIXTURES, st.integers(1, 33), st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
def test_a_step_is_a_pure_function(mixture: Mixture, rows: int, steps: list[int]) -> None:
    """Any step, in any order, from any object, gives what a walk from the start would."""
    batches = [mixture.draw(step, rows) for step in steps]
    assert all(len(batch) == rows for batch in batches)
    assert [mixture.draw(step, rows) for step in reversed(steps)] == batches[::-1]


def test_a_fresh_mixture_continues_where_another_stopped() -> None:
    arguments = ({"a": 7, "b": 31, "c": 300}, 0.5, 100, 5)
    walked = Mixture(*arguments)
    batches = [walked.draw(step, 16) for step in range(60)]
    assert [Mixture(*arguments).draw(step, 16) for step in range(40, 60)] == batches[40:]


@quick
@given(MIXTURES, st.integers(1, 33))
def test_every_row_once_before_any_twice(mixture: Mixture, rows: int) -> None:
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for step in range(12):
        for task, row in mixture.draw(step, rows):
            assert 0 <= row < mixture.sizes[task]
            seen[task][row] += 1
        for task, counts in seen.items():
            fewest = min(counts.values()) if len(counts) == mixture.sizes[task] else 0
            assert max(counts.values()) - fewest <= 1


@quick
@given(MIXTURES, st.integers(1, 33), st.integers(1, 40))
def test_counts_keep_to_the_rates_at_every_step(mixture: Mixture, rows: int, steps: int) -> None:
    counts = Counter(task for step in range(steps) for task, _ in mixture.draw(step, rows))
    tasks = len(mixture.sizes)
    for task, rate in mixture.rates.items():
        assert abs(counts[task] - rate * steps * rows) <= 1 + tasks * rate + 0.1


def test_counts_keep_to_the_rates_across_the_cycles_end() -> None:
    mixture = Mixture({"a": 11, "b": 17, "c": 3}, exponent=1)
    counts = Counter(task for step in range(1500) for task, _ in mixture.draw(step, 100))
    for task, rate in mixture.rates.items():
        assert counts[task] == pytest.approx(rate * 150_000, abs=12)


def test_epochs_run_on_across_the_cycles_end() -> None:
    mixture = Mixture({"a": 11, "b": 1009, "c": 3}, exponent=1)
    stream = [row for step in range(140) for task, row in mixture.draw(step, 1000) if task == "b"]
    epochs = [tuple(stream[start : start + 1009]) for start in range(0, len(stream) - 1009, 1009)]
    assert all(sorted(epoch) == list(range(1009)) for epoch in epochs)
    assert len(set(epochs)) == len(epochs) > 100


def test_batches_are_grouped_so_that_ranks_share_every_task() -> None:
    mixture = Mixture({"a": 50, "b": 50, "c": 50}, exponent=0)
    batch = mixture.draw(3, 24)
    assert len([task for task, _ in itertools.groupby(batch, key=lambda pair: pair[0])]) == 3
    for world in (2, 4):
        shares = [Counter(task for task, _ in batch[rank::world]) for rank in range(world)]
        assert sum(shares, Counter()) == Counter(task for task, _ in batch)
        assert all(max(share[task] for share in shares) - min(share[task] for share in shares) <= 1 for task in "abc")


def test_the_order_of_a_task_is_its_own() -> None:
    """Seeds and epochs change it, other tasks do not."""

    def stream(mixture: Mixture, steps: int) -> list[int]:
        return [row for step in range(steps) for task, row in mixture.draw(step, 10) if task == "a"]

    alone = stream(Mixture({"a": 20}), 4)
    assert sorted(alone[:20]) == sorted(alone[20:]) == list(range(20))
    assert alone[:20] != alone[20:]
    assert stream(Mixture({"a": 20}, seed=1), 2) != alone[:20]
    beside = stream(Mixture({"b": 20, "a": 20}), 4)
    assert sorted(beside[:20]) == list(range(20))


@pytest.mark.parametrize(
    ("sizes", "exponent", "cap"),
    [({}, 1, None), ({"a": 0}, 1, None), ({"a": 1}, -1, None), ({"a": 1}, float("nan"), None), ({"a": 1}, 1, 0)],
)
def test_impossible_mixtures_are_refused(sizes: dict[str, int], exponent: float, cap: int | None) -> None:
    with pytest.raises(InputError):
        Mixture(sizes, exponent, cap)


def test_a_large_exponent_does_not_overflow() -> None:
    rates = Mixture({"a": 1_000_000, "b": 10}, exponent=200).rates
    assert rates["a"] == pytest.approx(1) and rates["b"] == pytest.approx(0)
