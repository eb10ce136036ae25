"""The plain alternative to a search: the baseline, uniformly scaled, at the latency of what was found.

Channels come in multiples of 16, and all blocks of a stage become wider at once: where a baseline is narrow,
from one uniform scaling to the next the work may rise by a fifth, and a control at the latency of what was
found would be none. Between two of them, therefore, blocks become wider one after another.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from harness.model.architecture import Architecture
from harness.search.space.revisions import DEPTHS, Space

_SLOWER = 3
"""After so many networks that take longer no wider one is looked for that does not."""

Timed = tuple[Architecture, float]
"""A network and its latency in ms."""


def rivals(space: Space, latency_ms: float, measure: Callable[[Architecture], float]) -> list[Timed]:
    """Return, for each input size and depth, the scaling `of_latency`, which takes `latency_ms` or just more.

    So no control has less time, except where even the baseline is faster: then that is the only one.
    """
    # In shallow baselines several depths are one.
    ladders = dict.fromkeys(scalings(space, size, depth) for size in space.sizes for depth in DEPTHS)
    found = [of_latency(ladder, latency_ms, measure) for ladder in ladders]
    slow = {one.key: (one, one_ms) for one, one_ms in found if one_ms >= latency_ms}
    return list(slow.values()) or [max(found, key=lambda timed: timed[1])]


def scalings(space: Space, size: int, depth: float = 1.0) -> tuple[Architecture, ...]:
    """Return all uniform scalings of the baseline at an input size and depth, and what lies between them.

    Each once, by rising work.
    """
    most = space.baseline.count_macs()
    found = {one.key: one for one in space.scalings(depth, size=size) if one.count_macs() <= most}
    for narrow, wide in itertools.pairwise(list(found.values())):
        for one in _between(narrow, wide):
            found.setdefault(one.key, one)
    return tuple(sorted(found.values(), key=Architecture.count_macs))


def of_latency(
    wanted: Sequence[Architecture], latency_ms: float, measure: Callable[[Architecture], float]
) -> Timed:
    """Return the largest of some networks, by rising work, that takes what the first not too fast one takes.

    That one, not faster than `latency_ms`, is found by bisection, which takes latency to rise with work. It
    rises in stairs, as wide as the channels that a kernel computes at once (64 in AMX's tiles), and so the
    next are measured, too. Where all are faster, the last is returned.
    """
    known: dict[int, float] = {}

    def taken_ms(place: int) -> float:
        if place not in known:
            known[place] = measure(wanted[place])
        return known[place]

    low, high = 0, len(wanted) - 1
    while low < high:
        middle = (low + high) // 2
        if taken_ms(middle) < latency_ms:
            low = middle + 1
        else:
            high = middle
    found, slower = low, 0
    for place in range(low + 1, len(wanted)):
        if latency_ms <= taken_ms(place) <= taken_ms(low):
            found = place
        slower += taken_ms(place) > taken_ms(low)
        if slower == _SLOWER:
            break
    return wanted[found], taken_ms(found)


def _between(narrow: Architecture, wide: Architecture) -> Iterator[Architecture]:
    """Yield `wide` with the middles of `narrow` in all blocks, in all but the first, and so on."""
    mixed = [list(stage.blocks) for stage in narrow.stages]
    for number, stage in enumerate(wide.stages):
        for place, block in enumerate(stage.blocks):
            stages = (replace(one, blocks=tuple(mixed[at])) for at, one in enumerate(wide.stages))
            yield replace(wide, stages=tuple(stages)).canonical
            mixed[number][place] = block
