"""What a search found: points of latency and score, those that no other beats, and how good they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.model.architecture import Architecture


@dataclass(frozen=True)
class Point:
    """An architecture and what is known, or believed, of it."""

    architecture: Architecture
    latency_ms: float
    """Less is better."""
    score: float
    """More is better."""

    def to_dict(self) -> dict[str, Any]:
        """Return the point as JSON values."""
        return {
            "key": self.architecture.key,
            "latency_ms": self.latency_ms,
            "score": self.score,
            "architecture": self.architecture.to_dict(),
        }


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


def hypervolume(points: Iterable[Point], latency_ms: float, score: float) -> float:
    """Return the area, in ms times the unit of the score, that the points dominate.

    Only what is better than the reference (`latency_ms`, `score`) in both respects counts (Zitzler and
    Thiele, "Multiobjective Evolutionary Algorithms", IEEE Transactions on Evolutionary Computation 3(4),
    1999).
    """
    inside = [point for point in points if point.latency_ms < latency_ms and point.score > score]
    area, floor = 0.0, score
    for point in pareto(inside):
        area += (latency_ms - point.latency_ms) * (point.score - floor)
        floor = point.score
    return area


def feasible(points: Iterable[Point], cap_ms: float) -> list[Point]:
    """Return the points that are not slower than `cap_ms`."""
    return [point for point in points if point.latency_ms <= cap_ms]


def nearest(points: Iterable[Point], cap_ms: float) -> Point:
    """Return the point that exceeds `cap_ms` least, the best-scored one where several keep it.

    Raises:
        ValueError: there are no points.
    """
    return min(points, key=lambda point: (max(0.0, point.latency_ms - cap_ms), -point.score))


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
