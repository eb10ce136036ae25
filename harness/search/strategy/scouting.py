"""Scouts: networks near the wanted latency that are looked at before the search, for its estimator to learn.

A search finds what its estimator flatters. So, a few times, the best by the estimator as it stands is
fine-tuned on some images and looked at, and the estimator is weighed anew by all that was seen: what it
flattered is then known, and the next turn looks elsewhere. The first to be looked at are uniform scalings of
the baseline. (Sequential model-based optimization; Jones, Schonlau and Welch, "Efficient Global Optimization
of Expensive Black-Box Functions", Journal of Global Optimization 13, 1998.)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from harness.console import note
from harness.model.architecture import Architecture
from harness.search.accuracy.estimator import Additive, Estimator, Macs, kendall
from harness.search.accuracy.weighing import Seen, Weighed, left_out, weigh
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
_SLOWEST = 1.2
"""Times the wanted latency: what uniform scalings that are looked at may take."""


@dataclass(frozen=True)
class Scouted:
    """What scouts saw, and what was made of it."""

    problem: Problem
    """What to search."""
    seen: tuple[Seen, ...]
    weighed: Weighed

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
    count: int,
    fastest: float,
    seed: int,
    looks: Callable[[Sequence[Architecture]], list[float]],
    kept: Callable[[str, Callable[[], Any]], Any],
) -> Scouted | None:
    """Look at `count` networks, or a few more, and weigh the estimator by them.

    Nothing comes of it where there are fewer than two to look at.

    Args:
        problem: space, latencies and the wanted one; its score is not used.
        estimator: what ranks networks so far.
        count: how many; at least two are looked at.
        fastest: NEAR, FAR or another share of the wanted latency.
        seed: of the climbs.
        looks: the accuracies of networks after a look each, as fractions.
        kept: see Parts.kept.

    Raises:
        HarnessError: no architecture that was tried keeps the wanted latency; the nearest one is named.
    """
    base = problem.space.baseline
    scalings = [one for one in uniform_scalings(problem.space) if _is_near(problem, fastest, one)]
    seen = list(zip(scalings, looks(scalings), strict=True))
    turn = 0
    while len(seen) < max(_LEAST, count):
        score = weigh(estimator, base, seen).score if seen else estimator.score
        guided = replace(problem, score=score)
        found = kept(f"scouts-{turn}", partial(_find, guided, fastest, tuple(seen), seed + turn))
        if not found:
            break
        fresh = list(map(Architecture.from_dict, found))
        seen += zip(fresh, looks(fresh), strict=True)
        turn += 1
    if len(seen) < _LEAST:
        return None
    weighed = weigh(estimator, base, seen)
    scouted = Scouted(replace(problem, score=weighed.score), tuple(seen), weighed)
    named = ", ".join(f"{name} {tau:.2f}" for name, tau in scouted.taus().items())
    note(f"Kendall's tau with the {len(seen)} networks looked at: {named}.")
    return scouted


def _is_near(problem: Problem, fastest: float, architecture: Architecture) -> bool:
    return fastest <= problem.predict_ms(architecture) / problem.cap_ms <= _SLOWEST


def _find(problem: Problem, fastest: float, seen: Sequence[Seen], seed: int) -> list[dict[str, Any]]:
    """Return in JSON values the best networks within shares of the wanted latency that are not yet seen."""
    ranked = sorted(seen, key=lambda one: -one[1])
    starts = [one for one, _ in ranked[:_STARTS]] or uniform_scalings(problem.space)
    known = {one.key for one, _ in seen}
    points = climb(problem, starts, seed)
    if not seen and not feasible(points, problem.cap_ms):
        raise unreached(problem, points)
    fresh = [point for point in points if point.architecture.key not in known]
    found: list[Point] = []
    for share in np.geomspace(1.0, fastest, _A_TURN):
        within = [point for point in feasible(fresh, share * problem.cap_ms) if point not in found]
        if within:
            found.append(max(within, key=lambda point: point.score))
    return [point.architecture.to_dict() for point in found]
