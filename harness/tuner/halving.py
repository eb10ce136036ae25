"""Successive halving: many candidates measured once, the better ones again and again.

(Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016.) Those that are left take turns, and count by their median against each other within a turn: a
machine that slows down slows all alike, and one disturbed measurement decides nothing. It knows nothing of
what is measured.
"""

import math
import statistics
from collections.abc import Callable, Sequence

KEEP = 3
"""One in so many goes on to the next rung, which has so many times the turns and so costs about the same."""

Measure = Callable[[int, int], float | None]
"""Measure a candidate in a turn, counted from 1: above 0, the more the better; None if it cannot be done."""


def rung_sizes(count: int) -> list[int]:
    """Return how many candidates are measured on each rung, such as 25, 9 and 3."""
    sizes = [count]
    while sizes[-1] > KEEP:
        sizes.append(-(-sizes[-1] // KEEP))
    return sizes


def measurement_count(count: int) -> int:
    """Return how many measurements that makes."""
    return sum(size * turns(rung) for rung, size in enumerate(rung_sizes(count)))


def turns(rung: int) -> int:
    """Return how often each candidate of a rung is measured there: 1, 3, 9, ..."""
    return int(KEEP**rung)


def halve(count: int, measure: Measure, may_go_on: Callable[[], bool] = lambda: True) -> int | None:
    """Return the candidate that is left, by number; None when none can be measured.

    Args:
        count: candidates, numbered from 0; when time runs out in the first turn, the first are measured.
        measure: measures one of them.
        may_go_on: asked before each measurement; once it says no, the best so far is left.
    """
    alive, taken = list(range(count)), list[dict[int, float]]()
    for rung in range(len(rung_sizes(count))):
        for _ in range(turns(rung)):
            scores: dict[int, float] = {}
            for candidate in alive:
                if not may_go_on():
                    if not taken:
                        return max(scores, key=lambda one: scores[one], default=None)
                    return next(iter(_ranked(alive, taken)), None)
                score = measure(candidate, len(taken) + 1)
                if score is not None:
                    scores[candidate] = score
            taken.append(scores)
            alive = list(scores)
        alive = _ranked(alive, taken)
        if rung < len(rung_sizes(count)) - 1:
            alive = alive[: -(-len(alive) // KEEP)]
        if len(alive) < 2:
            break
    return next(iter(alive), None)


def _ranked(alive: Sequence[int], taken: Sequence[dict[int, float]]) -> list[int]:
    """Return the candidates, best first, by the turns in which all of them were measured."""
    against: dict[int, list[float]] = {candidate: [] for candidate in alive}
    for scores in taken:
        logs = {candidate: math.log(scores[candidate]) for candidate in alive if candidate in scores}
        if len(logs) == len(alive) > 0:
            mean = statistics.fmean(logs.values())
            for candidate, value in logs.items():
                against[candidate].append(value - mean)
    return sorted(alive, key=lambda candidate: -statistics.median(against[candidate]))
