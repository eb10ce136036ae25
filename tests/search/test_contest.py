"""The shortlist that comes of looks, and how many controls are trained."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.model.architecture import Architecture, resnet50
from harness.search.decision import Bar, Candidate
from harness.search.request import Effort
from harness.search.space.revisions import Space

pytest.importorskip("torch", reason="the search extra (PyTorch) is not installed")

from harness.search.selection.contest import Contest
from harness.search.selection.models import Trained

BAR = Bar(baseline=0.96, max_drop=0.01, images=10_000)
NETWORKS = Space(resnet50(24, 64, 0.2), (64,)).samples(1, 60)


def looks(*offsets: float) -> list[Candidate]:
    """Return rows of a dozen candidates each.

    In each row accuracies rise by 4 points, and latencies by 1 ms, from one to the next, up to 95 % and an
    offset; a later row takes a tenth of a ms longer.
    """
    return [
        Candidate(NETWORKS[20 * row + place], 1.0 + place + row / 10, 0.95 - 0.04 * (11 - place) + offset)
        for row, offset in enumerate(offsets)
        for place in range(12)
    ]


class Planted(Contest):
    """A contest in which what training gives is given."""

    look_is_brief = False

    def __init__(self, accuracies: dict[str, float], effort: Effort) -> None:
        self.setting = SimpleNamespace(request=SimpleNamespace(effort=effort))  # type: ignore[assignment]
        self.trainings = self  # type: ignore[assignment]
        self.accuracies = accuracies
        self.seen: list[str] = []

    def ahead_of_the_end(self, architectures: Sequence[Architecture]) -> AbstractContextManager[None]:
        return nullcontext()

    def all_briefly(self, architectures: Sequence[Architecture]) -> list[float]:
        return [self.accuracies[one.key] for one in architectures]

    def briefly(self, architecture: Architecture) -> float:
        return self.accuracies[architecture.key]

    def train(self, architecture: Architecture) -> Trained:
        """Return one that ends the better the worse it began."""
        self.seen.append(architecture.key)
        found = {"accuracy": 1 - self.accuracies[architecture.key]}
        return Trained(architecture, None, found)  # type: ignore[arg-type]


def keys(some: Sequence[Candidate]) -> set[str]:
    return {one.key for one in some}


def test_the_shortlist_is_the_front_of_looks_and_what_is_behind_it_the_fastest_first() -> None:
    seen = looks(0, 0.05, 0)
    found = Planted({}, Effort(shortlist=12)).shortlist(seen, BAR)
    assert len(found) == 12
    assert keys(found) >= keys(seen[18:24])
    assert [one.latency_ms for one in found] == sorted(one.latency_ms for one in found)
    assert not keys(found) & keys(seen[24:30])


def test_where_nothing_is_hopeful_the_shortlist_is_the_most_accurate() -> None:
    seen = looks(-0.5, -0.5, -0.5)
    found = Planted({}, Effort(shortlist=8)).shortlist(seen, BAR)
    assert keys(found) == keys(sorted(seen, key=lambda one: -one.brief)[:8])


def test_where_the_brief_training_leaves_no_hope_the_shortlist_is_the_most_accurate() -> None:
    contest, seen = Planted({}, Effort(shortlist=8)), looks(-0.05, -0.04, -0.5)
    spread = keys(contest.shortlist(seen, replace(BAR, hope=100)))
    contest.look_is_brief = True
    best = keys(contest.shortlist(seen, replace(BAR, hope=100)))
    assert best == keys(sorted(seen, key=lambda one: -one.brief)[:8]) != spread
    assert keys(contest.shortlist(seen, replace(BAR, max_drop=0.9, hope=100))) == spread


def test_fewer_than_a_shortlist_are_all_in_it() -> None:
    seen = looks(0)[:3]
    assert keys(Planted({}, Effort(shortlist=8)).shortlist(seen, BAR)) == keys(seen)


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


def test_what_is_expected_of_a_training_is_said_with_its_error_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    candidate = Candidate(NETWORKS[0], 1.5, 0.93)
    Planted({NETWORKS[0].key: 0.05}, Effort(finals=1)).train_up([candidate], BAR)
    said = capsys.readouterr().err
    assert f"Training {candidate.key} to the end: 1.5 ms, 93.00 % after the brief training" in said
    assert "95.00 % expected (standard error 0.51), 95.04 % needed, 95.26 % safe." in said


def test_a_control_that_was_a_candidate_is_not_trained_twice() -> None:
    contest = Planted({NETWORKS[0].key: 0.5}, Effort())
    known = Trained(NETWORKS[0], None, {"accuracy": 0.9})  # type: ignore[arg-type]
    contest.train_controls([(NETWORKS[0], 2.0)], {NETWORKS[0].key: known})
    assert not contest.seen


def test_a_pick_that_is_its_own_control_is_not_trained_from_further_seeds() -> None:
    contest = Planted({}, Effort(seeds=3))
    assert contest.twins(NETWORKS[0], NETWORKS[0]) == []
    assert contest.seen == []
