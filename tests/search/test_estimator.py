"""Estimators of accuracy, and how far they are to be trusted."""

import random
from itertools import combinations
from types import SimpleNamespace

import pytest

from harness.model.architecture import Architecture, resnet50
from harness.search.accuracy.estimator import (
    CONVERGED_LEAST,
    UNVALIDATED,
    Inherited,
    Macs,
    Parameters,
    Work,
    agreement,
    kendall,
)
from harness.search.space.ranges import OPEN
from harness.search.space.revisions import Space

SPACE = Space(resnet50(24, 64, 0.2), (64,))


def networks(count: int) -> list:
    source = random.Random(4)
    return [SPACE.sample(source) for _ in range(count)]


def slow_tau_b(one: list[float], other: list[float]) -> float:
    signs = [
        ((a > b) - (a < b), (c > d) - (c < d))
        for (a, c), (b, d) in combinations(zip(one, other, strict=True), 2)
    ]
    untied = [sum(bool(pair[side]) for pair in signs) for side in (0, 1)]
    return sum(a * b for a, b in signs) / (untied[0] * untied[1]) ** 0.5


def test_tau_is_that_of_counting_pairs() -> None:
    source = random.Random(2)
    for _ in range(20):
        one, other = ([source.randrange(6) for _ in range(12)] for _ in range(2))
        assert kendall(one, other) == pytest.approx(slow_tau_b(one, other))


def test_floors_count_work_and_parameters() -> None:
    small, large = SPACE.uniform(0.5), SPACE.baseline
    for floor in (Macs(), Parameters()):
        assert floor.score(small) < floor.score(large)
    assert Macs().score(large) == large.count_macs()


def test_agreement_names_estimator_floors_and_ceiling() -> None:
    found = networks(CONVERGED_LEAST)
    truths = [float(number) for number in range(len(found))]
    report = agreement({"good": truths, "bad": truths[::-1]}, truths, found, repeated=truths)
    assert (report.taus["good"], report.taus["bad"], report.ceiling) == pytest.approx((1, -1, 1))
    assert {"MACs", "parameters"} < set(report.taus)
    assert report.validated
    assert report.line.startswith("Kendall tau on 10 converged networks: good 1.00, bad -1.00, MACs ")
    assert report.line.endswith("seed to seed: 1.00")


def test_too_few_converged_networks_leave_the_estimator_unvalidated() -> None:
    found = networks(CONVERGED_LEAST - 1)
    truths = [float(number) for number in range(len(found))]
    report = agreement({"good": truths}, truths, found)
    assert not report.validated
    assert report.line == f"{UNVALIDATED}: 9 networks trained to convergence, 10 are needed"
    assert agreement({}, [], []).line == f"{UNVALIDATED}: 0 networks trained to convergence, 10 are needed"


def test_scores_of_another_number_of_networks_are_an_error() -> None:
    with pytest.raises(ValueError, match="different numbers of networks"):
        agreement({"short": [1.0]}, [1.0, 2.0], networks(2))


def test_an_inherited_network_is_judged_once() -> None:
    asked = []
    estimator = Inherited(SimpleNamespace(zero_shot=lambda one: asked.append(one) or 0.5))
    assert [estimator.score(SPACE.baseline) for _ in range(3)] == [0.5] * 3
    assert len(asked) == 1


def test_missing_work_costs_and_ranks_as_work_does() -> None:
    space = Space(SPACE.baseline, (64,), OPEN)
    drawn = space.samples(1, 12)
    work = Work(space.baseline)
    assert work.costs(space.baseline) == {"work": 0.0}
    assert all(0 <= work.costs(one)["work"] < 1 for one in drawn)
    assert sorted(drawn, key=work.score) == sorted(drawn, key=Architecture.count_macs)


def test_what_is_all_the_same_orders_nothing() -> None:
    assert kendall([1.0, 1.0, 1.0], [0.1, 0.2, 0.3]) == kendall([0.5], [0.5]) == kendall([], []) == 0.0
