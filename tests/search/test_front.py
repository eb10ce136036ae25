"""Fronts, held against slow forms."""

import random

import pytest

from harness.model.architecture import resnet50
from harness.search.space.revisions import Space
from harness.search.strategy.front import Point, best, layers, pareto, spread

NETWORK = resnet50(24, 64, 0.2)


def point(latency_ms: float, score: float) -> Point:
    return Point(NETWORK, latency_ms, score)


def random_points(seed: int, count: int = 60) -> list[Point]:
    source = random.Random(seed)
    return [point(source.randrange(1, 30), source.randrange(1, 30)) for _ in range(count)]


def beats(one: Point, other: Point) -> bool:
    no_worse = one.latency_ms <= other.latency_ms and one.score >= other.score
    return no_worse and (one.latency_ms, one.score) != (other.latency_ms, other.score)


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_point_beats(seed: int) -> None:
    points = random_points(seed)
    slow = {(p.latency_ms, p.score) for p in points if not any(beats(other, p) for other in points)}
    found = pareto(points)
    assert {(p.latency_ms, p.score) for p in found} == slow
    assert [p.latency_ms for p in found] == sorted({p.latency_ms for p in found})
    assert [p.score for p in found] == sorted({p.score for p in found})


@pytest.mark.parametrize("seed", range(5))
def test_each_further_front_is_that_of_what_is_left(seed: int) -> None:
    space, source = Space(NETWORK, (64,)), random.Random(seed)
    points = [
        Point(network, source.randrange(1, 30), source.randrange(1, 30))
        for network in space.samples(seed, 60)
    ]
    found = layers([*points, *points[:7]], 3)
    left = list(points)
    for front in found:
        assert front == pareto(left)
        left = [one for one in left if one not in front]
    assert len(found) == 3
    assert layers(points, 1) == [pareto(points)]
    assert sum(len(front) for front in layers(points, 100)) == len(points)
    assert layers([], 3) == []
    front = pareto(points)
    assert best(points, len(front)) == front
    assert best(points, len(front) + 3)[: len(front)] == front
    assert len(best(points, len(front) + 3)) == len(front) + 3
    assert best(points, 1) == [front[len(front) // 2]]
    assert best(points, 100) == [one for layer in layers(points, 100) for one in layer]


def test_a_spread_keeps_both_ends_and_thins_out_what_is_crowded() -> None:
    crowded = [point(ms, ms) for ms in (1, 1.01, 1.02, 2, 4, 4.01, 8)]
    found = [p.latency_ms for p in spread(crowded, 4)]
    assert found[0] == 1
    assert found[-1] == 8
    assert found in ([1, 2, 4, 8], [1, 2, 4.01, 8])
    assert spread(crowded, 20) == crowded
