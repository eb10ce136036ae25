"""What is searched; the strategy is told each architecture's latency and score."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.model.architecture import Architecture
from harness.search.space.revisions import Space
from harness.search.strategy.front import Point


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
