"""The interval of a difference over several trainings holds what it says."""

import math

import numpy as np
import pytest

from harness.search.verdict import Pairing, over_seeds
from harness.task import difference


def drawn(source: np.random.Generator, seeds: int, points: float, spread: float) -> list[Pairing]:
    """Return pairs of so many seeds: true difference and its spread between seeds, in percentage points."""
    # Images differ in how hard they are, which both networks of all seeds share.
    hard = source.beta(4, 1, 2000)
    found = []
    for seed in range(seeds):
        shift = (points + spread * source.standard_normal()) / 100
        pick = source.random(2000) < np.clip(hard + shift, 0, 1)
        found.append(Pairing(seed, pick, source.random(2000) < hard))
    return found


def test_networks_that_answer_alike_differ_by_nothing() -> None:
    same = np.arange(100) % 3 > 0
    found = over_seeds([Pairing(seed, same, same) for seed in (1, 2, 3)])
    assert (found.seeds, found.points, found.mean, found.half_width) == ((1, 2, 3), (0.0, 0.0, 0.0), 0.0, 0.0)


def test_of_one_training_the_interval_is_nearly_that_of_the_pair() -> None:
    (pair,) = drawn(np.random.default_rng(1), 1, 1.0, 0.0)
    found = over_seeds([pair])
    lost, gained = int(np.sum(pair.control & ~pair.pick)), int(np.sum(pair.pick & ~pair.control))
    low, high = difference(lost, gained, 2000)
    assert found.mean == pytest.approx(100 * (gained - lost) / 2000)
    assert found.half_width == pytest.approx(50 * (high - low), rel=0.03)


def test_a_difference_between_trainings_is_not_taken_for_one_between_methods() -> None:
    source = np.random.default_rng(2)
    trials = [over_seeds(drawn(source, 3, 0.0, 2.0)) for _ in range(300)]
    assert sum(abs(one.mean) > one.half_width for one in trials) / len(trials) < 0.06
    alone = [over_seeds(drawn(source, 1, 0.0, 2.0)) for _ in range(300)]
    assert sum(abs(one.mean) > one.half_width for one in alone) / len(alone) > 0.1


def test_seeds_that_agree_on_a_difference_tell_it() -> None:
    found = over_seeds(drawn(np.random.default_rng(3), 3, 6.0, 0.1))
    assert found.mean > found.half_width
    assert math.isclose(found.mean, float(np.mean(found.points)))
