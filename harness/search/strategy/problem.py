"""What is searched: what an architecture's latency and score are, the strategy is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.model.architecture import Architecture
from harness.search.space.revisions import Space
from harness.search.strategy.front import Point, nearest


@dataclass(frozen=True)
class Problem:
    """A space, with what is expected of its networks."""

    space: Space
    predict_ms: Callable[[Architecture], float]
    score: Callable[[Architecture], float]
    cap_ms: float
    """Slower architectures are not allowed."""

    def point(self, architecture: Architecture) -> Point:
        """Return what is expected of a network."""
        return Point(architecture, self.predict_ms(architecture), self.score(architecture))


def unreached(problem: Problem, points: Sequence[Point]) -> HarnessError:
    """Return what to raise where none of `points` keeps the wanted latency."""
    best = nearest(points, problem.cap_ms)
    return HarnessError(
        f"None of the {len(points):,} architectures tried reaches {problem.cap_ms:.3g} ms: the nearest, "
        f"{best.architecture.key}, is predicted to take {best.latency_ms:.4g} ms, so ask for less, by "
        "--target-latency or --target-speedup."
    )
