"""The search: networks are looked at turn by turn, and each turn learns from those before.

The first are those that somebody would think of: the baseline, and what it would be in blocks of other forms,
each in several depths and as wide as the wanted latency lets it be.

Then, a few times, what promises most by an estimator is measured, trained on some images and looked at, and
the estimator is weighed anew by all that was seen: what it flattered is then known, and the next turn looks
elsewhere. (Sequential model-based optimization; Jones, Schonlau and Welch, "Efficient Global Optimization of
Expensive Black-Box Functions", Journal of Global Optimization 13, 1998.) Networks of one turn are chosen one
after another, each as if those before had been looked at and were as expected. (Desautels, Krause and
Burdick, "Parallelizing Exploration-Exploitation Tradeoffs in Gaussian Process Bandit Optimization", Journal
of Machine Learning Research 15, 2014.)
"""

import itertools
import math
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from harness.console import note
from harness.errors import HarnessError
from harness.model.architecture import Architecture
from harness.search.accuracy.estimator import Additive, Estimator, Macs, kendall
from harness.search.accuracy.weighing import Seen, Weighed, left_out, unlikeness, weigh
from harness.search.decision import Bar, Candidate, bracket_ms
from harness.search.latency.learning import Latencies, Model, Timed
from harness.search.space.revisions import DEPTHS, Space
from harness.search.strategy.climbing import climb
from harness.search.strategy.front import Point
from harness.search.strategy.problem import Problem

_A_TURN = 4
"""Networks looked at before the estimator learns from them, each the best within a share of its own."""
_LEAST = 2
"""Networks from which something can be learned: each is judged by what the others lead to."""
_STARTS = 6
"""Networks from which climbs start."""
_STRIDE = 1.0
"""How unlike its start the end of a climb may be, at most; see weighing.unlikeness."""
_CONSIDERED = 200
"""Networks that one of a turn is chosen from, the best before the turn began."""
_EMPTY_TURNS = 3
"""So many turns beyond those that are needed may find nothing."""
_LEEWAY = 1.1
"""By so much more than is wanted may be foreseen of what is considered: it may take less."""
_TRIES = 4
"""So often a turn measures what it has chosen, and chooses anew by what that has taught."""

Kept = Callable[..., Any]
"""See Parts.kept."""
Found = tuple[list[Architecture], list[Architecture]]
"""Networks to look at, and all that were measured to find them."""
_PARTS_OF_TURN = ("found", "measured")


@dataclass(frozen=True)
class Band:
    """The latencies in which networks are looked for."""

    cap_ms: float
    """Slower networks are not allowed."""
    share: float
    """Of it, down to which scouts go."""

    NEAR = 0.9
    """Share where a latency is asked for."""
    FAR = 0.4
    """Share where none is: the fastest that keeps the accuracy takes far less than the baseline."""

    @property
    def caps_ms(self) -> list[float]:
        """Within each of these latencies a turn looks at what promises most."""
        shares: list[float] = np.geomspace(1.0, self.share, _A_TURN).tolist()
        return [share * self.cap_ms for share in shares]

    def narrowed(self, looks: Sequence[Candidate], bar: Bar) -> "Band":
        """Return where to look next for the fastest that keeps the bar: here while looks do not tell.

        It is the slower half, by ratios, of the bracket in which that lies, and a tenth of its upper end at
        least; a bracket goes down to FAR of it at most.
        """
        found = bracket_ms([one for one in looks if one.latency_ms <= self.cap_ms], bar)
        if found is None:
            return self
        lost_ms, cap_ms = found
        return Band(cap_ms, min(self.NEAR, math.sqrt(max(self.FAR, lost_ms / cap_ms))))


@dataclass(frozen=True)
class Scouted:
    """What was seen, and what was made of it."""

    seen: tuple[Seen, ...]
    """First what somebody would think of."""
    weighed: Weighed
    thoughts: int
    """How many of them somebody would think of."""
    expected_ms: Mapping[Architecture, float]
    """By what had learned from all that was measured before its turn, of what that turn measured."""

    @cached_property
    def predicted(self) -> list[float]:
        """The accuracy expected of each network that was seen, by what was seen of the others alone."""
        return left_out(self.weighed.estimator, self.weighed.baseline, self.seen)

    def at_chance(self, images: int) -> bool:
        """Whether none of what was seen is better than guessing by two standard errors, on so many images."""
        chance = 1 / self.weighed.baseline.classes
        error = math.sqrt(chance * (1 - chance) / images)
        return max(accuracy for _, accuracy in self.seen) <= chance + 2 * error

    def to_dict(self, latencies: Latencies) -> dict[str, Any]:
        """Return it in JSON values, with what is known of the latencies."""
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
                    "latency_ms": latencies.foretold_ms(one),
                    "expected_ms": self.expected_ms.get(one),
                    "measured_ms": latencies.ms(one),
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


@dataclass(frozen=True)
class Scouting:
    """A search."""

    space: Space
    band: Band
    latencies: Latencies
    bar: Bar
    """What must be kept: scouts go where looks say that the fastest lies that keeps it."""
    estimator: Additive
    """What ranks networks so far."""
    seed: int
    """Of the climbs."""
    looks: Callable[[Sequence[Architecture]], list[float]]
    """The accuracies of networks after a look each, as fractions."""
    kept: Kept
    spent: Mapping[str, Any]
    """On a look, and on the brief training that it stands for: what turns choose hangs on it."""

    def scout(self, count: int) -> Scouted:
        """Look at what somebody would think of, then at `count` others, or a few more.

        Raises:
            HarnessError: no network that was tried keeps the wanted latency, of which the nearest is named,
                or only one does.
        """
        model = self.latencies.model
        first, measured = self._known("thoughts", self._thoughts)
        expected_ms = {one: model(one) for one in first if one in measured}
        tried = dict.fromkeys((*first, *measured))
        seen = list(zip(first, self.looks(first), strict=True))
        wanted, turn = max(_LEAST, len(seen) + count), 0
        # Turns may find nothing that is as fast as the table had it, and yet teach the table.
        while len(seen) < wanted and turn < _EMPTY_TURNS + count:
            model = self.latencies.model
            fresh, measured = self._known(
                f"scouts-{turn}", partial(self._turn, tuple(seen), turn), **self.spent
            )
            expected_ms |= {one: model(one) for one in fresh if one in measured}
            if not fresh and not measured:
                break
            tried |= dict.fromkeys((*fresh, *measured))
            seen += zip(fresh, self.looks(fresh), strict=True)
            turn += 1
        if not seen:
            raise unreached(self.band.cap_ms, [(one, self.latencies.ms(one)) for one in tried])
        if len(seen) < _LEAST:
            raise HarnessError(
                f"Only one network that was tried keeps {self.band.cap_ms:.3g} ms, so that there is nothing "
                "to choose from: ask for less, by --target-latency or --target-speedup."
            )
        if len(seen) < wanted:
            note(f"After {len(seen)} looks no other network was found that is worth one.")
        weighed = weigh(self.estimator, self.space.baseline, seen)
        scouted = Scouted(tuple(seen), weighed, len(first), expected_ms)
        named = ", ".join(f"{name} {tau:.2f}" for name, tau in scouted.taus().items())
        note(f"Kendall's tau with the {len(seen)} networks looked at: {named}.")
        return scouted

    def _known(self, name: str, find: Callable[[], Found], **spent: Any) -> Found:
        """Return what an earlier call found, or else `find` finds now; learn what was measured of it."""

        def make() -> dict[str, Any]:
            return {
                what: [one.to_dict() for one in networks]
                for what, networks in zip(_PARTS_OF_TURN, find(), strict=True)
            }

        values = self.kept(name, make, **spent)
        found, measured = ([Architecture.from_dict(one) for one in values[what]] for what in _PARTS_OF_TURN)
        self.latencies.recall([*found, *measured])
        return found, measured

    def _thoughts(self) -> Found:
        """Return what somebody would think of, as wide as is right by what was measured."""
        return self._measured(lambda: thoughts(self.space, self.latencies.ms, self.band))

    def _measured(self, choose: Callable[[], list[Architecture]]) -> Found:
        """Choose, measure what was chosen and choose anew, until all of it is known.

        What takes longer than wanted is left out in the end.
        """
        measured: list[Architecture] = []
        for _ in range(_TRIES):
            found = choose()
            fresh = self.latencies.measure(found)
            measured += fresh
            if not fresh:
                break
        return [one for one in found if self.latencies.ms(one) <= self.band.cap_ms], measured

    def _turn(self, seen: Sequence[Seen], turn: int) -> Found:
        """Return what promises most within the latencies of a band and is not yet seen."""
        base, latencies = self.space.baseline, self.latencies
        known = [Candidate(one, latencies.ms(one), accuracy) for one, accuracy in seen]
        band = self.band.narrowed(known, self.bar)
        weighed = weigh(self.estimator, base, seen) if seen else None
        promise = weighed.promise if weighed else self.estimator.score
        starts = [one.architecture for one in _starts(known, band.cap_ms)] or [base.canonical]
        stride = _STRIDE if seen else math.inf
        points = climb(
            Problem(self.space, latencies.ms, promise, band.cap_ms),
            starts,
            self.seed + turn,
            within=lambda *pair: unlikeness(base, *pair) <= stride,
        )
        if not seen and not any(point.latency_ms <= band.cap_ms for point in points):
            raise unreached(band.cap_ms, [(point.architecture, point.latency_ms) for point in points])
        near = _worth_a_try(points, band, {one for one, _ in seen})

        def choose(among: Sequence[Architecture] = near) -> list[Architecture]:
            times_ms = {one: latencies.ms(one) for one in among}
            return _chosen(times_ms, band, weighed, promise, seen)

        found, measured = self._measured(choose)
        if measured:
            # The last that were measured may take longer than was foreseen, and others less.
            found = choose([one for one in near if latencies.knows(one)])
        return found, measured


def unreached(cap_ms: float, tried: Collection[Timed]) -> HarnessError:
    """Return what to raise where no network keeps the wanted latency, of those tried, with what they take."""
    best, best_ms = min(tried, key=lambda one: one[1])
    return HarnessError(
        f"None of the {len(tried):,} architectures tried reaches {cap_ms:.3g} ms: the nearest, {best.key}, "
        f"takes {best_ms:.4g} ms, so ask for less, by --target-latency or --target-speedup."
    )


def thoughts(space: Space, predict_ms: Model, band: Band) -> list[Architecture]:
    """Return the widest uniform scalings that keep the wanted latency, of all that somebody would scale.

    Those are the baseline, at each input size, and it in blocks of other forms, in each depth. Where scouts
    go far, the widest that keep the least share of the wanted latency are among them, too.
    """
    scaled = [(one, space.baseline.size) for one in space.recasts()]
    scaled += [(space.baseline.canonical, size) for size in space.sizes]
    shares = (1.0,) if band.share >= Band.NEAR else (1.0, band.share)
    found: dict[Architecture, None] = {}
    for (network, size), depth in itertools.product(dict.fromkeys(scaled), DEPTHS):
        ladder = [one for one in space.scalings(depth, size=size, of=network) if space.fault(one) is None]
        times_ms = list(map(predict_ms, ladder))
        for share in shares:
            kept = [one for one, ms in zip(ladder, times_ms, strict=True) if ms <= share * band.cap_ms]
            found |= dict.fromkeys(kept[-1:])
    return list(found)


def _worth_a_try(points: Sequence[Point], band: Band, seen: Container[Architecture]) -> list[Architecture]:
    """Return, the best first, what promises most within, or nearly, each latency of a band and is new."""
    ranked = sorted((one for one in points if one.architecture not in seen), key=lambda one: -one.score)
    kept: set[Architecture] = set()
    for cap_ms in band.caps_ms:
        within = [one.architecture for one in ranked if one.latency_ms <= _LEEWAY * cap_ms]
        kept.update(within[:_CONSIDERED])
    return [one.architecture for one in ranked if one.architecture in kept]


def _chosen(
    times_ms: dict[Architecture, float],
    band: Band,
    weighed: Weighed | None,
    promise: Callable[[Architecture], float],
    seen: Sequence[Seen],
) -> list[Architecture]:
    """Return a turn of networks, each the most promising within another latency of a band.

    `times_ms` holds those that can be chosen, the most promising first.
    """
    found: list[Architecture] = []
    believed = list(seen)
    for cap_ms in band.caps_ms:
        within = [one for one, ms in times_ms.items() if ms <= cap_ms and one not in found]
        if within:
            found.append(max(within[:_CONSIDERED], key=promise))
            if weighed:
                believed.append((found[-1], weighed.expected(found[-1])[0]))
                promise = weigh(weighed.estimator, weighed.baseline, believed).promise
    return found


def _starts(seen: Sequence[Candidate], cap_ms: float) -> list[Candidate]:
    """Return from which climbs start: the most accurate that keep a latency, then the fastest others."""
    return sorted(seen, key=lambda one: (max(cap_ms, one.latency_ms), -one.brief))[:_STARTS]
