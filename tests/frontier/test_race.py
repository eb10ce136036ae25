import math

import numpy as np
import pytest

from harness.frontier.race import Fate, Hits, Outcome, bounds, needed, race

COUNT = 600
TARGET = 0.75
# Time and how many of the 600 images are known: near the target, beaten, and slower without need.
PLANTED = {
    "tiny": (1.0, 330),
    "small": (1.5, 400),
    "odd": (1.8, 380),
    "near": (2.0, 445),
    "right": (2.5, 480),
    "beaten": (3.0, 430),
    "more": (3.5, 495),
    "most": (5.0, 510),
}


class Planted:
    """Networks of which is known which images they know."""

    def __init__(self, planted: dict[str, tuple[float, int]], seed: int) -> None:
        self.speeds = {name: ms for name, (ms, _) in planted.items()}
        source = np.random.default_rng(seed)
        # Real networks know the same images: the hard ones are hard for all.
        hardness = source.normal(size=COUNT)
        self._hits = {}
        for name, (_, right) in planted.items():
            ranks = np.argsort(hardness + source.normal(scale=0.7, size=COUNT))
            self._hits[name] = np.zeros(COUNT, np.bool_)
            self._hits[name][ranks[:right]] = True
        self.inferences = 0

    def answer(self, name: str, indices: np.ndarray) -> Hits:
        self.inferences += len(indices)
        return self._hits[name][indices]

    def run(self, seed: int) -> Outcome:
        return race(self.speeds, self.answer, COUNT, TARGET, seed)


@pytest.mark.parametrize("seed", range(20))
def test_the_right_one_is_picked_with_at_most_half_of_the_inferences(seed: int) -> None:
    planted = Planted(PLANTED, seed)
    outcome = planted.run(seed)
    assert outcome.pick is not None
    assert outcome.pick.name == "right"
    assert outcome.pick.answered == COUNT
    assert planted.inferences == outcome.answered <= COUNT * len(PLANTED) / 2


@pytest.mark.parametrize("seed", range(20))
def test_the_pick_is_that_of_measuring_everything_whatever_the_networks(seed: int) -> None:
    source = np.random.default_rng(100 + seed)
    networks = {
        f"network-{place}": (float(source.uniform(1, 9)), int(source.integers(380, 520)))
        for place in range(10)
    }
    planted = Planted(networks, seed)
    outcome = planted.run(seed)
    fit = {name: ms for name, (ms, right) in networks.items() if right >= needed(COUNT, TARGET)}
    assert (outcome.pick and outcome.pick.name) == min(fit, key=fit.__getitem__, default=None)


def test_why_each_left_is_said() -> None:
    fates = {one.name: one for one in Planted(PLANTED, 3).run(3).runners}
    assert fates["tiny"].fate is Fate.MISSES
    assert fates["near"].fate is Fate.MISSES
    assert fates["most"].fate is Fate.TOO_LATE
    assert fates["most"].by == "right"
    assert fates["tiny"].answered < COUNT / 2


def test_nothing_reaches_the_target_and_the_most_accurate_is_the_nearest() -> None:
    outcome = Planted({"bad": (1.0, 300), "better": (2.0, 400), "worse": (4.0, 350)}, 1).run(1)
    assert outcome.pick is None
    assert outcome.nearest.name == "better"


def test_what_must_be_known_is_the_target_and_a_standard_error() -> None:
    for count, target in ((600, 0.75), (400, 0.9), (50_000, 0.757)):
        least = needed(count, target) / count
        assert least - math.sqrt(least * (1 - least) / count) >= target
        one_less = least - 1 / count
        assert one_less - math.sqrt(one_less * (1 - one_less) / count) < target
    assert needed(100, 1.0) == 100


def test_bounds_hold_as_often_as_they_say_and_close_at_the_end() -> None:
    truth, answered, source = 450, 150, np.random.default_rng(1)
    known = np.arange(COUNT) < truth
    outside = 0
    for _ in range(400):
        right = int(known[source.permutation(COUNT)[:answered]].sum())
        low, high = bounds(right, answered, COUNT)
        outside += not low <= truth <= high
    assert outside <= 0.08 * 400
    assert bounds(450, COUNT, COUNT) == (450, 450)
