"""The plain alternative to a search: the baseline, uniformly narrower, at the latency of what was found."""

from collections.abc import Callable

from harness.architecture import Architecture
from harness.search.space import Space

_STEPS = 100
"""Widths are tried in hundredths, finer than multiples of 16 channels can follow."""


def scalings(space: Space, size: int) -> list[Architecture]:
    """Return all uniform scalings of the baseline at an input size, each once, by rising work."""
    found: dict[str, Architecture] = {}
    for step in range(1, _STEPS + 1):
        scaled = space.uniform(step / _STEPS, size=size)
        found.setdefault(scaled.key, scaled)
    return sorted(found.values(), key=Architecture.count_macs)


def of_latency(
    space: Space, size: int, latency_ms: float, measure: Callable[[Architecture], float]
) -> tuple[Architecture, float]:
    """Return the narrowest uniform scaling that is not faster than `latency_ms`, and its latency.

    So the control never has less time. Found by bisection, which takes latency to rise with work; where even
    the baseline itself is faster, it is returned.
    """
    wanted = scalings(space, size)
    low, high = 0, len(wanted) - 1
    known: dict[int, float] = {}
    while low < high:
        middle = (low + high) // 2
        known[middle] = measure(wanted[middle])
        if known[middle] < latency_ms:
            low = middle + 1
        else:
            high = middle
    if low not in known:
        known[low] = measure(wanted[low])
    return wanted[low], known[low]
