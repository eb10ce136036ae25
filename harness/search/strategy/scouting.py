"""Scouts: networks near the wanted latency that are looked at before the search, for its estimator to learn.

The first are those that somebody would think of: the baseline, and what it would be in blocks of other forms,
each in several depths and as wide as the wanted latency lets it be.

A search finds what its estimator flatters. So, a few times, what promises most by the estimator as it stands
is trained on some images and looked at, and the estimator is weighed anew by all that was seen: what it
flattered is then known, and the next turn looks elsewhere. (Sequential model-based optimization; Jones,
Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal of Global
Optimization 13, 1998.) Networks of one turn are chosen one after another, each as if those before had been
looked at and were as expected. (Desautels, Krause and Burdick, "Parallelizing Exploration-Exploitation
Tradeoffs in Gaussian Process Bandit Optimization", Journal of Machine Learning Research 15, 2014.)
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from harness.console import note
from harness.model.architecture import Architecture
from harness.search.accuracy.estimator import Additive, Estimator, Macs, kendall
from harness.search.accuracy.weighing import Seen, Weighed, left_out, unlikeness, weigh
from harness.search.space.revisions import DEPTHS, Space
from harness.search.strategy.climbing import climb
from harness.search.strategy.evolution import Problem, uniform_scalings, unreached
from harness.search.strategy.front import Point, feasible

NEAR, FAR = 0.9, 0.4
"""Shares of the wanted latency down to which scouts go: where one is asked for, and where only the baseline's
must be kept, which the fastest that keeps the accuracy will leave behind."""
_A_TURN = 4
"""Networks looked at before the estimator learns from them, each the best within a share of its own."""
_LEAST = 2
"""Networks from which something can be learned: each is judged by what the others lead to."""
_STARTS = 6
"""Of all that was seen the most accurate, from which climbs start."""
_STRIDE = 1.0
"""How unlike its start the end of a climb may be, at most; see weighing.unlikeness."""
_CONSIDERED = 200
"""Networks that one of a turn is chosen from, the best before the turn began."""


@dataclass(frozen=True)
class Scouted:
    """What scouts saw, and what was made of it."""

    problem: Problem
    """What to search."""
    seen: tuple[Seen, ...]
    """First what was to be seen first."""
    weighed: Weighed
    thoughts: int
    """How many were to be seen first."""

    @cached_property
    def predicted(self) -> list[float]:
        """The accuracy expected of each network that was seen, by what was seen of the others alone."""
        return left_out(self.weighed.estimator, self.weighed.baseline, self.seen)

    def at_chance(self, images: int) -> bool:
        """Whether none of what was seen is better than guessing by two standard errors, on so many images."""
        chance = 1 / self.weighed.baseline.classes
        error = math.sqrt(chance * (1 - chance) / images)
        return max(accuracy for _, accuracy in self.seen) <= chance + 2 * error

    @property
    def points(self) -> list[Point]:
        """What was seen and is predicted to keep the wanted latency, as the weighed estimator has it."""
        problem = self.problem
        points = (Point(one, problem.predict_ms(one), problem.score(one)) for one, _ in self.seen)
        return feasible(points, problem.cap_ms)

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON values."""
        weighed = self.weighed
        return {
            "level": weighed.level,
            "weights": dict(weighed.weights),
            "taus": self.taus(),
            "thoughts": self.thoughts,
            "seen": [
                {
                    "key": one.key,
                    "architecture": one.to_dict(),
                    "accuracy": accuracy,
                    "predicted": predicted,
                    "latency_ms": self.problem.predict_ms(one),
                    "costs": weighed.estimator.costs(one),
                }
                for (one, accuracy), predicted in zip(self.seen, self.predicted, strict=True)
            ],
        }

    def taus(self) -> dict[str, float]:
        """Return Kendall's tau of rankings with what was seen; that of the weighed one is by `predicted`."""
        weighed, accuracies = self.weighed, [accuracy for _, accuracy in self.seen]
        plain: tuple[Estimator, ...] = (weighed.estimator, Macs())
        scores = {one.name: [one.score(network) for network, _ in self.seen] for one in plain}
        scores[weighed.name] = self.predicted
        return {name: kendall(column, accuracies) for name, column in scores.items()}


def scout(
    problem: Problem,
    estimator: Additive,
    first: Sequence[Architecture],
    count: int,
    fastest: float,
    seed: int,
    looks: Callable[[Sequence[Architecture]], list[float]],
    kept: Callable[[str, Callable[[], Any]], Any],
) -> Scouted | None:
    """Look at the `first` networks, then at `count` others, or a few more, and weigh the estimator by all.

    Nothing comes of it where there are fewer than two to look at.

    Args:
        problem: space, latencies and the wanted one; its score is not used.
        estimator: what ranks networks so far.
        first: what to look at before anything is known; see `thoughts`.
        count: how many that are chosen by what was seen; at least two networks are looked at.
        fastest: NEAR, FAR or another share of the wanted latency.
        seed: of the climbs.
        looks: the accuracies of networks after a look each, as fractions.
        kept: see Parts.kept.

    Raises:
        HarnessError: no architecture that was tried keeps the wanted latency; the nearest one is named.
    """
    base = problem.space.baseline
    seen = list(zip(first, looks(first), strict=True))
    wanted, turn = max(_LEAST, len(seen) + count), 0
    while len(seen) < wanted:
        find = partial(_find, problem, estimator, fastest, tuple(seen), seed + turn)
        found = kept(f"scouts-{turn}", find)
        if not found:
            break
        fresh = list(map(Architecture.from_dict, found))
        seen += zip(fresh, looks(fresh), strict=True)
        turn += 1
    if len(seen) < _LEAST:
        return None
    weighed = weigh(estimator, base, seen)
    best = tuple(one for one, _ in _most_accurate(seen))
    scouted = Scouted(replace(problem, score=weighed.score, starts=best), tuple(seen), weighed, len(first))
    named = ", ".join(f"{name} {tau:.2f}" for name, tau in scouted.taus().items())
    note(f"Kendall's tau with the {len(seen)} networks looked at: {named}.")
    return scouted


def thoughts(
    space: Space, predict_ms: Callable[[Architecture], float], cap_ms: float, fastest: float
) -> list[Architecture]:
    """Return the widest uniform scalings that keep the wanted latency, of all that somebody would scale.

    Those are the baseline, at each input size, and it in blocks of other forms, in each depth. Where scouts
    go far, the widest that keep the least share of the wanted latency are among them, too.

    Args:
        space: of the search.
        predict_ms: the latency of a network.
        cap_ms: the wanted one.
        fastest: NEAR, FAR or another share of the wanted latency.
    """
    scaled = [(one, space.baseline.size) for one in space.recasts()]
    scaled += [(space.baseline.canonical, size) for size in space.sizes]
    shares = (1.0,) if fastest >= NEAR else (1.0, fastest)
    found: dict[Architecture, None] = {}
    for (network, size), depth in itertools.product(dict.fromkeys(scaled), DEPTHS):
        ladder = [one for one in space.scalings(depth, size=size, of=network) if space.fault(one) is None]
        times_ms = list(map(predict_ms, ladder))
        for share in shares:
            kept = [one for one, ms in zip(ladder, times_ms, strict=True) if ms <= share * cap_ms]
            found |= dict.fromkeys(kept[-1:])
    return list(found)


def _most_accurate(seen: Sequence[Seen]) -> list[Seen]:
    return sorted(seen, key=lambda one: -one[1])[:_STARTS]


def _find(
    problem: Problem, estimator: Additive, fastest: float, seen: Sequence[Seen], seed: int
) -> list[dict[str, Any]]:
    """Return in JSON values what promises most within shares of the wanted latency and is not yet seen."""
    base = problem.space.baseline
    weighed = weigh(estimator, base, seen) if seen else None
    promise = weighed.promise if weighed else estimator.score
    starts = [one for one, _ in _most_accurate(seen)] or uniform_scalings(problem.space)
    known = {one.key for one, _ in seen}
    stride = _STRIDE if seen else math.inf
    points = climb(
        replace(problem, score=promise), starts, seed, within=lambda *pair: unlikeness(base, *pair) <= stride
    )
    if not seen and not feasible(points, problem.cap_ms):
        raise unreached(problem, points)
    ranked = sorted(points, key=lambda point: -point.score)
    fresh = [point for point in ranked if point.architecture.key not in known]
    found: list[Architecture] = []
    believed = list(seen)
    for share in np.geomspace(1.0, fastest, _A_TURN):
        within = [point.architecture for point in feasible(fresh, share * problem.cap_ms)]
        within = [one for one in within if one not in found][:_CONSIDERED]
        if within:
            found.append(max(within, key=promise))
            if weighed:
                believed.append((found[-1], weighed.expected(found[-1])[0]))
                promise = weigh(estimator, base, believed).promise
    return [one.to_dict() for one in found]
