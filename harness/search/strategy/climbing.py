"""Coordinate ascent: from a network to one in which no single other decision would be better.

Where score and latency are nearly sums over decisions it comes close to the best of all in a second; what it
finds is a point of the front for each price of latency.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.model.architecture import Architecture
from harness.search.strategy.front import Point
from harness.search.strategy.problem import Problem

_STEEPNESS = (0.7, 1.0, 1.4, 2.0, 2.8)
"""Prices of latency, over the usual one: fronts are steeper at their fast end."""
_TRIES, _LEAP = 6, 4.0
"""Climbs that look for the usual price, and by what it rises or falls until it is between two."""
_FEW = 8
"""Of more options, which then stand in rising order, not all are tried at each visit."""


def climb(
    problem: Problem,
    starts: Sequence[Architecture],
    seed: int,
    within: Callable[[Architecture, Architecture], bool] = lambda start, network: True,
) -> list[Point]:
    """Return all networks that climbs from `starts` came by, each once.

    Every climb takes score less a price times latency; there is one for each start and price. `starts` are
    points of the space, at least one; `seed` decides in which order decisions are tried; a climb only goes
    where `within`, asked with its start and a network, lets it.
    """
    space = problem.space
    options = space.all_decisions()
    known: dict[Architecture, Point] = {}

    def worth(network: Architecture, price: float) -> float:
        if network not in known:
            known[network] = problem.point(network)
        point = known[network]
        # Rounded, so that sums in another order are no gain and every climb ends.
        return round(point.score - price * point.latency_ms, 9)

    source = random.Random(seed)

    def ascend(start: Architecture, price: float) -> Point:
        taken = space.complete(space.decisions(start))
        best, moved = worth(start.canonical, price), True
        while moved:
            moved = False
            for name in source.sample(list(options), len(options)):
                for option in _within_reach(options[name], taken[name]):
                    network = space.decided({**taken, name: option})
                    if within(start, network) and (found := worth(network, price)) > best:
                        taken = space.complete(space.decisions(network))
                        best, moved = found, True
        return known[space.decided(taken)]

    usual_price = _price(problem, lambda price: ascend(starts[0], price).latency_ms)
    for start in starts:
        for steepness in _STEEPNESS:
            ascend(start, steepness * usual_price)
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


def _price(problem: Problem, ends_at_ms: Callable[[float], float]) -> float:
    """Return about the least price of latency, score a millisecond, at which a climb keeps the wanted one.

    Where the baseline keeps it, too, it is what a millisecond is worth between that and its uniform half.
    Elsewhere it only begins there: a score that has learned from networks seven times as fast knows nothing
    of those two.
    """
    whole, half = problem.space.baseline, problem.space.uniform(0.5)
    saved_ms = problem.predict_ms(whole) - problem.predict_ms(half)
    gained = problem.score(whole) - problem.score(half)
    if problem.predict_ms(whole) <= problem.cap_ms:
        return max(0.0, gained) / saved_ms if saved_ms > 0 else 0.0
    price = gained / saved_ms if min(gained, saved_ms) > 0 else 1 / problem.cap_ms
    too_low, enough = 0.0, math.inf
    for _ in range(_TRIES):
        if ends_at_ms(price) <= problem.cap_ms:
            enough = price
            price = math.sqrt(too_low * enough) if too_low else enough / _LEAP
        else:
            too_low = price
            price = math.sqrt(too_low * enough) if enough < math.inf else too_low * _LEAP
    return enough if enough < math.inf else too_low
