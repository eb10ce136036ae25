"""Who keeps the accuracy: networks answer growing parts of the images, and leave when they clearly lose.

The images are a sample of one list, drawn without replacement, so how many of all a network knows is bounded
by the hypergeometric distribution of what it knew so far; at the end of the list nothing is left to guess. A
network keeps the target if its accuracy less one standard error does (as `search.decision` has it).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from harness.task import mcnemar

ERROR_CHANCE = 5e-4
"""Of each single decision before all images are answered."""
FIRST_SHARE = 1 / 16
LEAST_FIRST = 32
"""Images in the first part, at least."""

Hits = npt.NDArray[np.bool_]
Answer = Callable[[str, npt.NDArray[np.intp]], Hits]
"""From a network's name and the indices of images to which of them it knows."""


class Fate(StrEnum):
    KEEPS = "keeps the target"
    MISSES = "cannot reach the target"
    BEATEN = "a faster one knows more"
    TOO_LATE = "a faster one keeps the target"
    OPEN = "in the race"


@dataclass(frozen=True)
class Runner:
    """A network in the race."""

    name: str
    ms: float
    hits: Hits = field(default_factory=lambda: np.zeros(0, np.bool_))
    """In the order of the race."""
    fate: Fate = Fate.OPEN
    by: str = ""
    """Who is better, where another is."""

    @property
    def answered(self) -> int:
        return len(self.hits)

    @property
    def right(self) -> int:
        return int(np.sum(self.hits))

    @property
    def accuracy(self) -> float:
        """Of what was answered so far, a fraction."""
        return self.right / self.answered


@dataclass(frozen=True)
class Outcome:
    """How a race went."""

    runners: tuple[Runner, ...]
    """The fastest first."""
    count: int
    """Images there are."""
    needed: int
    """Of these, what must be known to keep the target."""

    @property
    def answered(self) -> int:
        """Inferences of all networks together."""
        return sum(one.answered for one in self.runners)

    @property
    def pick(self) -> Runner | None:
        """The fastest that keeps the target; None if none does."""
        return next((one for one in self.runners if one.fate is Fate.KEEPS), None)

    @property
    def nearest(self) -> Runner:
        """The most accurate, by what is known of it; of equals, the fastest."""
        return max(self.runners, key=lambda one: (one.accuracy, -one.ms))


def needed(count: int, target: float) -> int:
    """Return how many of `count` images must be known so that the share less a standard error is `target`.

    `count` + 1 if even all do not suffice.
    """
    right = np.arange(count + 1) / count
    keeps = right - np.sqrt(right * (1 - right) / count) >= target
    # Near none and all the standard error falls faster than the share: from the last that misses on.
    missing = np.flatnonzero(~keeps)
    return int(missing[-1]) + 1 if len(missing) else 0


def race(
    speeds: Mapping[str, float],
    answer: Answer,
    count: int,
    target: float,
    seed: int = 1,
    told: Callable[[Sequence[Runner]], None] = lambda runners: None,
) -> Outcome:
    """Find the fastest network that keeps the target, on as few images as are needed for that.

    All networks answer the first part of the images. Then the fastest that is in the race answers further
    parts, each as large as all before, until it is clear whether it keeps the target; if not, the next does.
    A network leaves when it cannot reach the target any more, or when a faster one knows more of the same
    images (McNemar's exact test), or surely keeps the target. The pick answers all images.

    Args:
        speeds: milliseconds of each network.
        answer: tells which images a network knows.
        count: images there are.
        target: accuracy to keep, a fraction.
        seed: of the order of the images.
        told: is told how the race stands, after each part.
    """
    order = np.random.default_rng(seed).permutation(count)
    least = needed(count, target)
    part = min(count, max(LEAST_FIRST, math.ceil(count * FIRST_SHARE)))
    runners: list[Runner] = []

    def run(one: Runner, until: int) -> Runner:
        hits = answer(one.name, order[one.answered : until])
        return replace(one, hits=np.concatenate([one.hits, hits]))

    for name, ms in sorted(speeds.items(), key=lambda item: item[1]):
        runners.append(_judged(run(Runner(name, ms), part), runners, count, least))
        told(runners)
    for place, one in enumerate(runners):
        while runners[place].fate is Fate.OPEN:
            longer = run(runners[place], min(count, 2 * runners[place].answered))
            runners[place] = _judged(longer, runners[:place], count, least)
            told(runners)
        if runners[place].fate is Fate.KEEPS:
            runners[place] = run(runners[place], count)
            runners[place + 1 :] = [
                replace(other, fate=Fate.TOO_LATE, by=one.name)
                if other.fate in (Fate.OPEN, Fate.KEEPS)
                else other
                for other in runners[place + 1 :]
            ]
            break
    return Outcome(tuple(runners), count, least)


def bounds(right: int, answered: int, count: int, chance: float = 0.025) -> tuple[int, int]:
    """Return the least and the most of `count` images that a network may know, with `right` of `answered`.

    Each bound is wrong with at most the given chance.
    """
    possible = range(right, count - (answered - right) + 1)
    # What a network knows of all makes it ever likelier to know so many of some, and less likely so few.
    low = bisect_right(
        possible, chance, key=lambda known: float(hypergeom.sf(right - 1, count, known, answered))
    )
    high = bisect_left(
        possible, -chance, key=lambda known: -float(hypergeom.cdf(right, count, known, answered))
    )
    return possible[min(low, len(possible) - 1)], possible[max(high - 1, 0)]


def _judged(one: Runner, faster: Sequence[Runner], count: int, least: int) -> Runner:
    """Return the network with what is clear about it by now."""
    low, high = bounds(one.right, one.answered, count, ERROR_CHANCE)
    if high < least:
        return replace(one, fate=Fate.MISSES)
    for other in faster:
        if other.fate is Fate.KEEPS:
            return replace(one, fate=Fate.TOO_LATE, by=other.name)
        shared = min(one.answered, other.answered)
        lost = int(np.sum(other.hits[:shared] & ~one.hits[:shared]))
        gained = int(np.sum(one.hits[:shared] & ~other.hits[:shared]))
        if other.fate is Fate.OPEN and lost > gained and mcnemar(lost, gained) < 2 * ERROR_CHANCE:
            return replace(one, fate=Fate.BEATEN, by=other.name)
    return replace(one, fate=Fate.KEEPS) if low >= least else one
