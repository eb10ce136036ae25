"""Successive halving: many candidates measured briefly, the better ones again and longer.

(Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016.) It knows nothing of what is measured.
"""

from collections.abc import Callable

KEEP = 3
"""One in so many goes on to the next rung, where it is measured so many times as long."""

Measure = Callable[[int, int], float | None]
"""Measure a candidate on a rung; the more the better, None if it cannot be measured."""


def rung_sizes(count: int) -> list[int]:
    """Return how many candidates are measured on each rung, such as 25, 9 and 3."""
    sizes = [count]
    while sizes[-1] > KEEP:
        sizes.append(-(-sizes[-1] // KEEP))
    return sizes


def halve(count: int, measure: Measure, may_go_on: Callable[[], bool] = lambda: True) -> int | None:
    """Return the candidate that is left, by number; None when none can be measured.

    Args:
        count: candidates, numbered from 0; when time runs out on the first rung, the first are measured.
        measure: measures one of them.
        may_go_on: asked before each measurement; once it says no, the best is left of the last rung on which
            two or more were measured.
    """
    alive, best = list(range(count)), None
    for rung in range(len(rung_sizes(count))):
        scores: dict[int, float] = {}
        for candidate in alive:
            if not may_go_on():
                break
            score = measure(candidate, rung)
            if score is not None:
                scores[candidate] = score
        if not scores or (best is not None and len(scores) < 2 and not may_go_on()):
            break
        ranked = sorted(scores, key=lambda candidate: -scores[candidate])
        best = ranked[0]
        alive = ranked[: -(-len(ranked) // KEEP)]
        if len(ranked) < 2:
            break
    return best
