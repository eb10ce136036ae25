"""Intervals, verdicts and paired tests against closed forms, slow ways, scipy and simulated data."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t

from harness.measurement import statistics
from harness.measurement.statistics import Interval, Outcome


def test_the_ratio_of_two_means_is_the_mean_of_the_ratios() -> None:
    one, other = [10.0, 12.0, 9.0], [4.0, 3.0, 5.0]
    ratio = statistics.speedup(one, other)
    assert ratio.center == pytest.approx(
        statistics.interval(one).center / statistics.interval(other).center, rel=1e-12
    )


def test_the_resampled_quantiles_are_those_of_all_possible_resamples() -> None:
    logs = np.array([0.0, 0.02, 0.05, 0.11])
    every = [np.mean(chosen) for chosen in itertools.product(logs, repeat=len(logs))]
    drawn = statistics._resampled_means(logs)
    for tail in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(drawn, tail) == pytest.approx(np.quantile(every, tail), abs=0.005)


def test_for_many_rounds_the_interval_is_that_of_the_normal_distribution() -> None:
    values = np.exp(np.random.default_rng(3).normal(0.5, 0.1, 400))
    found = statistics.interval(list(values))
    half = 1.96 * np.log(values).std() / 20
    assert math.log(found.high / found.low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize("rounds", [2, 3, 5, 10])
def test_the_interval_covers_the_truth_in_about_95_per_cent(rounds: int) -> None:
    generator = np.random.default_rng(rounds)
    hits = 0
    for _ in range(300):
        found = statistics.interval(list(np.exp(generator.normal(0.2, 0.05, rounds))))
        hits += found.low <= math.exp(0.2) <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_identical_twins_are_seldom_called_different_even_after_few_rounds() -> None:
    generator = np.random.default_rng(7)
    called = 0
    for _ in range(300):
        drift = generator.normal(0, 0.2, 3)
        one, other = (np.exp(drift + generator.normal(0, 0.03, 3)) for _ in range(2))
        called += statistics.speedup(list(one), list(other)).outcome is not Outcome.UNDECIDED
    assert called / 300 <= 0.08


def test_drift_that_hits_all_variants_alike_does_not_blur_the_ratio() -> None:
    drift = [1.0, 0.5, 0.8, 1.3]
    found = statistics.speedup([200 * factor for factor in drift], [100 * factor for factor in drift])
    assert (found.low, found.center, found.high) == pytest.approx((2.0, 2.0, 2.0))
    assert found.outcome is Outcome.FASTER


def test_the_same_rounds_always_give_the_same_interval() -> None:
    assert statistics.interval([1.0, 2.0, 4.0]) == statistics.interval([1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(1.01, 1.2, "faster"), (0.8, 0.99, "slower"), (0.99, 1.2, "undecided"), (1.0, 1.0, "undecided")],
)
def test_faster_is_only_said_when_the_interval_excludes_1(low: float, high: float, outcome: str) -> None:
    assert Interval(1.0, low, high, 5).outcome == outcome


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 0.0], [1.0, -2.0], [1.0, math.inf], [1.0, math.nan]])
def test_what_cannot_have_an_interval_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rounds|positive"):
        statistics.interval(values)


def test_the_rounds_needed_would_have_shown_the_difference() -> None:
    generator = np.random.default_rng(11)
    ratios = list(np.exp(generator.normal(0.02, 0.05, 6)))
    needed = statistics.rounds_needed(ratios)
    assert needed is not None
    logs = np.log(ratios)
    scaled = (logs - logs.mean()) / logs.std(ddof=1)
    more = np.exp(np.resize(scaled, needed * 6) * logs.std(ddof=1) + logs.mean())
    assert statistics.interval(list(more)).outcome is not Outcome.UNDECIDED
    assert needed > 6


def test_the_rounds_needed_tell_a_true_difference_four_times_in_five() -> None:
    needed = statistics.rounds_needed(list(np.exp([0.03, -0.01, 0.03, -0.01])))
    assert needed is not None
    generator = np.random.default_rng(5)
    spread = float(np.std([0.03, -0.01, 0.03, -0.01], ddof=1))
    told = sum(
        statistics.interval(list(np.exp(generator.normal(0.01, spread, needed)))).outcome is Outcome.FASTER
        for _ in range(200)
    )
    assert 0.7 * 200 < told < 0.9 * 200


def test_two_rounds_have_the_interval_of_students_t() -> None:
    found = statistics.interval([1.0, 1.1])
    half = t.ppf(0.975, 1) * abs(math.log(1.1)) / 2
    assert math.log(found.high / found.center) == pytest.approx(half)
    assert math.log(found.center / found.low) == pytest.approx(half)


def test_no_number_of_rounds_is_promised_for_twins() -> None:
    assert statistics.rounds_needed([0.9, 1 / 0.9, 1.05, 1 / 1.05]) is None


def test_who_looks_prolongs_and_looks_again_makes_no_more_false_calls_than_one_look() -> None:
    generator = np.random.default_rng(4)
    called = {statistics.level: 0, lambda _: statistics.CONFIDENCE: 0}
    trials = 300
    for _ in range(trials):
        logs = list(generator.normal(0, 0.05, 5))
        for level in called:
            called[level] += follow_the_advice(list(logs), generator, level)
    by_level, by_single_looks = (count / trials for count in called.values())
    assert by_level <= 0.05 < by_single_looks


def follow_the_advice(
    logs: list[float], generator: np.random.Generator, level: Callable[[int], float]
) -> bool:
    """Return whether twins are called different by somebody who adds the rounds that are advised, twice."""
    for look in (1, 2, 3):
        ratios = list(np.exp(logs))
        if statistics.interval(ratios, level(look)).outcome is not Outcome.UNDECIDED:
            return True
        needed = statistics.rounds_needed(ratios, level(look + 1))
        if needed is None or needed > 100:
            return False
        logs += list(generator.normal(0, 0.05, max(1, needed - len(logs))))
    return False


def test_what_all_looks_may_err_adds_up_to_what_one_may() -> None:
    errors = [1 - statistics.level(look) for look in range(1, 40)]
    assert errors == sorted(errors, reverse=True)
    assert sum(errors) == pytest.approx(1 - statistics.CONFIDENCE)
    assert statistics.level(0) == statistics.CONFIDENCE
