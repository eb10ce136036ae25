"""Coordinate ascent: from a network to one in which no single other decision would be better.

Where score and latency are nearly sums over decisions it comes close to the best of all in a second, in which
NSGA-II breeds a few hundred networks; what it finds is a point of the front for each price of latency.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.model.architecture import Architecture
from harness.search.strategy.evolution import Problem, look_up
from harness.search.strategy.front import Point

_STEEPNESS = (0.7, 1.0, 1.4, 2.0, 2.8)
"""Prices of latency, over the usual one: fronts are steeper at their fast end."""
_FEW = 8
"""Of more options, which then stand in rising order, not all are tried at each visit."""


def climb(
    problem: Problem,
    starts: Iterable[Architecture],
    seed: int,
    advance: Callable[[int], None] = lambda by: None,
) -> list[Point]:
    """Return all networks that climbs from `starts` came by, each once.

    Every climb takes score less a price times latency; there is one for each start and price. `starts` are
    points of the space; `seed` decides in which order decisions are tried; `advance` is told of how many more
    networks.
    """
    space = problem.space
    usual_price = _usual_price(problem)
    options = space.all_decisions()
    known: dict[Architecture, Point] = {}

    def worth(decisions: Mapping[str, Any], price: float) -> float:
        before = len(known)
        point = look_up(problem, space.decided(decisions), known)
        if len(known) > before:
            advance(1)
        # Rounded, so that sums in another order are no gain and every climb ends.
        return round(point.score - price * point.latency_ms, 9)

    source = random.Random(seed)
    for start in starts:
        for steepness in _STEEPNESS:
            price = steepness * usual_price
            taken = space.complete(space.decisions(start))
            best, moved = worth(taken, price), True
            while moved:
                moved = False
                for name in source.sample(list(options), len(options)):
                    for option in _within_reach(options[name], taken[name]):
                        found = worth({**taken, name: option}, price)
                        if found > best:
                            taken = space.complete(space.decisions(space.decided({**taken, name: option})))
                            best, moved = found, True
    return list(known.values())


def _within_reach(options: Sequence[Any], taken: Any) -> Iterator[Any]:
    """Return all options if they are few, else those that are 1, 2, 4, ... places away from what is taken."""
    if len(options) <= _FEW:
        yield from options
        return
    place, reach = options.index(taken), 1
    while reach < len(options):
        for other in (place - reach, place + reach):
            if 0 <= other < len(options):
                yield options[other]
        reach *= 2


def _usual_price(problem: Problem) -> float:
    """Return the score that a millisecond is worth between the baseline and its uniform half."""
    whole, half = problem.space.baseline, problem.space.uniform(0.5)
    saved_ms = problem.predict_ms(whole) - problem.predict_ms(half)
    return max(0.0, problem.score(whole) - problem.score(half)) / saved_ms if saved_ms > 0 else 0.0
