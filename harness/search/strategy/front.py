"""Points of latency and score, and those that no other beats."""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.model.architecture import Architecture


@dataclass(frozen=True)
class Point:
    """An architecture and what is known, or believed, of it."""

    architecture: Architecture
    latency_ms: float
    """Less is better."""
    score: float
    """More is better."""


def pareto(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in both respects, by rising latency and so by rising score."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency_ms, -point.score, point.architecture.key)):
        if not kept or point.score > kept[-1].score:
            kept.append(point)
    return kept


def layers(points: Iterable[Point], count: int) -> list[list[Point]]:
    """Return at most `count` fronts: that of all points, that of what is left without it, and so on.

    Each architecture counts once.
    """
    left = {point.architecture.key: point for point in points}
    found: list[list[Point]] = []
    while left and len(found) < count:
        found.append(pareto(left.values()))
        for point in found[-1]:
            del left[point.architecture.key]
    return found


def spread(points: Iterable[Point], count: int) -> list[Point]:
    """Return at most `count` points of the front, evenly over latency, both ends among them; one: the middle.

    Of all points between two others, the one whose neighbours have the most similar latencies goes first.
    """
    kept = pareto(points)
    if count == 1:
        return kept[len(kept) // 2 :][:1]
    while len(kept) > count:
        ratios = [after.latency_ms / before.latency_ms for before, after in zip(kept, kept[2:], strict=False)]
        del kept[1 + ratios.index(min(ratios))]
    return kept


def best(points: Iterable[Point], count: int) -> list[Point]:
    """Return `count` points spread over the front, and if it has fewer, over the fronts behind it, too."""
    found: list[Point] = []
    for front in layers(points, count):
        if len(found) < count:
            found += spread(front, count - len(found))
    return found
