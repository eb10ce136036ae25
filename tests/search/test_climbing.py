"""Climbs by single decisions: no better network is one decision away, at the price of latency."""

from dataclasses import replace

from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.search.space.revisions import Space
from harness.search.strategy.climbing import climb
from harness.search.strategy.front import Point, pareto
from harness.search.strategy.problem import Problem

STAGES = tuple(Stage(width, (Block(width // 4),) * depth) for width, depth in ((64, 3), (128, 4)))
SPACE = Space(Architecture(24, 64, "7x7-pool", 16, STAGES), (64,))


def mega_macs(architecture: Architecture) -> float:
    return architecture.count_macs() / 1e6


def planted(architecture: Architecture) -> float:
    """Return a score that favours depth, 5x5 depthwise convolutions and 0.8 of the width."""
    pairs = list(zip(architecture.stages, SPACE.baseline.stages, strict=True))
    blocks = [block for stage in architecture.stages for block in stage.blocks]
    return (
        0.05 * len(blocks)
        + 0.03 * sum(block.kind == "dw5" for block in blocks)
        - sum(abs(stage.width / base.width - 0.8) for stage, base in pairs)
    )


PROBLEM = Problem(SPACE, mega_macs, planted, mega_macs(SPACE.baseline))


def drawn(count: int, problem: Problem = PROBLEM) -> list[Point]:
    """Return as many random networks."""
    return [problem.point(one) for one in SPACE.samples(1, count)]


def test_a_planted_optimum_is_found_from_either_end() -> None:
    free = Problem(SPACE, lambda _: 1.0, planted, 1.0)
    for start in (SPACE.baseline, SPACE.uniform(0.25, 1 / 3)):
        best = max(climb(free, [start], seed=1), key=lambda point: point.score).architecture
        assert [len(stage.blocks) for stage in best.stages] == [3, 4]
        assert {block.kind for stage in best.stages for block in stage.blocks} == {"dw5"}
        shares = [s.width / b.width for s, b in zip(best.stages, SPACE.baseline.stages, strict=True)]
        assert all(abs(share - 0.8) < 0.1 for share in shares)


def test_climbs_find_what_is_better_than_as_many_random_networks_at_every_latency() -> None:
    climbed = climb(PROBLEM, [SPACE.baseline, SPACE.uniform(0.35)], seed=1)
    others = drawn(len(climbed))
    for share in (0.3, 0.5, 0.7, 1.0):
        best, by_chance = (
            max(point.score for point in points if point.latency_ms <= share * PROBLEM.cap_ms)
            for points in (climbed, others)
        )
        assert best > by_chance


def test_each_network_comes_once_and_a_seed_gives_the_same() -> None:
    some = climb(PROBLEM, [SPACE.uniform(0.5)], seed=2)
    keys = [point.architecture.key for point in some]
    assert len(set(keys)) == len(keys)
    assert keys == [point.architecture.key for point in climb(PROBLEM, [SPACE.uniform(0.5)], seed=2)]
    assert all(point.latency_ms == mega_macs(point.architecture) for point in pareto(some))
    assert any(point.latency_ms <= 0.5 * PROBLEM.cap_ms for point in some)


def test_where_less_time_is_wanted_than_the_baseline_takes_climbs_end_there() -> None:
    cap_ms = 0.3 * PROBLEM.cap_ms
    # A score that sees no difference between the baseline and its half tells no price of latency.
    for score in (planted, lambda one: max(-0.5, 2 * planted(one))):
        found = climb(replace(PROBLEM, score=score, cap_ms=cap_ms), [SPACE.uniform(0.35)], seed=1)
        near = [point for point in found if 0.85 * cap_ms < point.latency_ms <= cap_ms]
        assert near
        best = max(point.score for point in near)
        others = drawn(500, replace(PROBLEM, score=score))
        assert best >= max(point.score for point in others if point.latency_ms <= cap_ms)


def test_a_climb_stays_where_it_is_let() -> None:
    start = SPACE.uniform(0.5)
    kinds = {"dense", "dw3"}

    def within(begun: Architecture, network: Architecture) -> bool:
        assert begun == start
        return {block.kind for stage in network.stages for block in stage.blocks} <= kinds

    found = climb(PROBLEM, [start], seed=1, within=within)
    assert {
        block.kind for one in found for stage in one.architecture.stages for block in stage.blocks
    } == kinds
