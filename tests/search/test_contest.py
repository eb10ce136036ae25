"""The first look at three fronts, and the shortlist that comes of it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.model.architecture import Architecture, resnet50
from harness.search.decision import Bar
from harness.search.request import Effort
from harness.search.space.revisions import Space
from harness.search.strategy.front import Point

pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")

from harness.search.selection.contest import Contest, Measured, fast_enough
from harness.search.selection.models import Trained

BAR = Bar(baseline=0.96, max_drop=0.01, images=10_000)
NETWORKS = Space(resnet50(24, 64, 0.2), (64,)).samples(1, 60)
FRONTS = [
    [(Point(NETWORKS[20 * row + place], 0.0, place), 1.0 + place + row / 10) for place in range(12)]
    for row in range(3)
]
"""Three fronts of a dozen points; the measured latencies of the one behind are a tenth of a ms longer."""


class Planted(Contest):
    """A contest in which a look's accuracy is given."""

    look_is_brief = False

    def __init__(self, accuracies: dict[str, float], effort: Effort) -> None:
        self.setting = SimpleNamespace(request=SimpleNamespace(effort=effort))  # type: ignore[assignment]
        self.trainings = self  # type: ignore[assignment]
        self.accuracies = accuracies
        self.seen: list[str] = []

    def look(self, architecture: Architecture) -> float:
        self.seen.append(architecture.key)
        return self.accuracies[architecture.key]

    def ahead_of_looks(self, architectures: Sequence[Architecture]) -> AbstractContextManager[None]:
        return nullcontext()

    ahead_of_the_end = ahead_of_looks

    def all_briefly(self, architectures: Sequence[Architecture]) -> list[float]:
        return [self.accuracies[one.key] for one in architectures]

    def briefly(self, architecture: Architecture) -> float:
        return self.accuracies[architecture.key]

    def train(self, architecture: Architecture) -> Trained:
        """Return one that ends the better the worse it began."""
        self.seen.append(architecture.key)
        found = {"accuracy": 1 - self.accuracies[architecture.key]}
        return Trained(architecture, None, found)  # type: ignore[arg-type]


def accuracies(*offsets: float) -> dict[str, float]:
    """Return accuracies that rise by 4 points from one point of a front to the next, up to 95 %."""
    return {
        point.architecture.key: 0.95 - 0.04 * (11 - place) + offset
        for front, offset in zip(FRONTS, offsets, strict=True)
        for place, (point, _) in enumerate(front)
    }


def keys(some: list[Measured]) -> list[str]:
    return [point.architecture.key for point, _ in some]


def test_what_is_faster_than_two_hopeless_ones_is_not_looked_at() -> None:
    contest = Planted(accuracies(0, 0, 0), Effort(shortlist=12))
    looks = contest.looked_at(FRONTS, (), BAR)
    assert [one.key for one in looks] == contest.seen
    assert contest.seen == [key for front in FRONTS for key in reversed(keys(front[-7:]))]
    assert [one.brief < 0.768 for one in looks[:7]] == [False] * 5 + [True] * 2


def test_the_shortlist_is_what_looks_say_not_what_scores_said() -> None:
    contest = Planted(accuracies(0, 0.05, 0), Effort(shortlist=12))
    looks = contest.looked_at(FRONTS, (), BAR)
    found = contest.shortlist(FRONTS, looks, BAR)
    assert len(found) == 12
    assert set(keys(found)) >= set(keys(FRONTS[1][-6:]))
    assert [latency_ms for _, latency_ms in found] == sorted(latency_ms for _, latency_ms in found)
    assert not set(keys(found)) & set(keys(FRONTS[2][:-6]))


def test_where_nothing_is_hopeful_the_shortlist_is_what_was_looked_at() -> None:
    contest = Planted(accuracies(-0.5, -0.5, -0.5), Effort(shortlist=8))
    looks = contest.looked_at(FRONTS, (), BAR)
    assert len(looks) == 6
    assert len(contest.shortlist(FRONTS, looks, BAR)) == 6


def test_where_the_brief_training_leaves_no_hope_the_shortlist_is_the_most_accurate() -> None:
    contest = Planted(accuracies(-0.05, -0.04, -0.5), Effort(shortlist=8))
    looks = contest.looked_at(FRONTS, (), replace(BAR, hope=100))
    spread = set(keys(contest.shortlist(FRONTS, looks, replace(BAR, hope=100))))
    contest.look_is_brief = True
    best = set(keys(contest.shortlist(FRONTS, looks, replace(BAR, hope=100))))
    assert best == {one.key for one in sorted(looks, key=lambda one: -one.brief)[:8]} != spread
    assert set(keys(contest.shortlist(FRONTS, looks, replace(BAR, max_drop=0.9, hope=100)))) == spread


def test_one_front_needs_no_look() -> None:
    contest = Planted({}, Effort(shortlist=8))
    assert contest.looked_at(FRONTS[:1], (), BAR) == []
    found = contest.shortlist(FRONTS[:1], [], BAR)
    assert len(found) == 8
    assert set(keys(found)) < set(keys(FRONTS[0]))


def test_scouts_come_along_beside_a_single_front() -> None:
    contest = Planted(accuracies(0, 0, 0), Effort(shortlist=8))
    scouts = [*FRONTS[1], FRONTS[0][-1]]
    looks = contest.looked_at(FRONTS[:1], scouts, BAR)
    assert {one.key for one in looks} >= set(keys(scouts))
    assert len({one.key for one in looks}) == len(looks)
    assert set(keys(contest.shortlist([FRONTS[0], scouts], looks, BAR))) & set(keys(FRONTS[1]))


def test_what_is_measured_to_be_too_slow_is_left_out_unless_all_are() -> None:
    assert [keys(front) for front in fast_enough(FRONTS, 6.05)] == [
        keys(FRONTS[0][:6]),
        keys(FRONTS[1][:5]),
        keys(FRONTS[2][:5]),
    ]
    assert fast_enough(FRONTS, 0.5) == FRONTS


def test_of_the_control_as_many_are_trained_as_of_the_pick_and_the_best_counts() -> None:
    rivals = [(network, 2.0) for network in NETWORKS[:4]]
    briefly = dict(zip((one.key for one, _ in rivals), (0.6, 0.9, 0.8, 0.7), strict=True))
    for count, best in ((1, 1), (2, 2), (3, 3), (9, 0)):
        contest = Planted(briefly, Effort())
        trained = {str(number): Trained(NETWORKS[20], None, {}) for number in range(count)}  # type: ignore[arg-type]
        controls = contest.train_controls(rivals, trained)
        assert controls[0].key == NETWORKS[best].key
        assert {one.key for one in controls} == set(briefly)
        assert len(contest.seen) == min(count, len(rivals)) == len(trained) - count


def test_a_control_that_was_a_candidate_is_not_trained_twice() -> None:
    contest = Planted({NETWORKS[0].key: 0.5}, Effort())
    known = Trained(NETWORKS[0], None, {"accuracy": 0.9})  # type: ignore[arg-type]
    contest.train_controls([(NETWORKS[0], 2.0)], {NETWORKS[0].key: known})
    assert not contest.seen


def test_a_pick_that_is_its_own_control_is_not_trained_from_further_seeds() -> None:
    contest = Planted({}, Effort(seeds=3))
    assert contest.twins(NETWORKS[0], NETWORKS[0]) == []
    assert contest.seen == []
