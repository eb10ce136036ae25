"""From the times of a few hundred networks to the time of any network of the space."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.model.architecture import Architecture
from harness.search.latency.terms import Term, beyond_caches, priced, terms
from harness.search.space.revisions import DEPTHS, Space

_MORE_WEIGHT = 2.0
"""By what the error of a network is multiplied that is a uniform scaling of the baseline, with which searches
begin, or that was measured because a search has found it; that of a random one by 1."""
_SCALED = (1.0, 0.5)
"""Widths of the uniform scalings, in each depth, that tables rest on, too: the random networks of a space are
not much like them, and a table of these alone was 22 % too slow for the space's reference."""
_RIDGE = 1.0
"""Pulls what the measurements leave undecided to zero, as a share of each term's largest amount: with 0.05 an
unseen network was predicted to take 2.3 times what it took, by what others with fewer such layers took."""

_NETWORKS_A_PRICE = 0.7
"""Random networks for each price that there is to learn: what a search wants to train it measures anyway."""
_LEAST_NETWORKS = 60
_SAMPLE_SEED, _SAMPLED = 1, 60
"""Networks that tell which prices a space has."""


@dataclass(frozen=True)
class Design:
    """Which networks a table rests on; the same design of a space always names the same networks."""

    networks: int
    """Random networks of the space."""
    seed: int = 1

    @classmethod
    def of(cls, space: Space) -> "Design":
        """Return the usual design: a small space has fewer prices to learn, for which fewer networks do."""
        seen = map(terms, space.samples(_SAMPLE_SEED, _SAMPLED))
        prices = {term for counted in seen for term in priced({**counted, **beyond_caches(counted)})}
        return cls(networks=max(_LEAST_NETWORKS, 10 * round(_NETWORKS_A_PRICE * len(prices) / 10)))

    def wholes(self, space: Space, unseen: Iterable[Architecture]) -> list[Architecture]:
        """Return the random networks, none of which is among `unseen`."""
        return space.samples(self.seed, self.networks, unseen)

    def all_networks(self, space: Space, unseen: Iterable[Architecture]) -> list[Architecture]:
        """Return all networks to measure."""
        return [*stems(space).values(), *scalings(space, unseen), *self.wholes(space, unseen)]


def scalings(space: Space, unseen: Iterable[Architecture]) -> list[Architecture]:
    """Return the uniform scalings of the baseline, each once, none of which is among `unseen`."""
    found = dict.fromkeys(space.uniform(width, depth) for width in _SCALED for depth in DEPTHS)
    known = {one.key for one in unseen}
    return [one for one in found if one.key not in known and space.fault(one) is None]


def stems(space: Space) -> dict[tuple[int, str, int], Architecture]:
    """Return the networks of just a stem and a classifier, by input size, name and width of the stem."""
    return {
        (size, stem, width): Architecture(space.baseline.classes, size, stem, width)
        for size in space.sizes
        for stem in space.stems
        for width in space.ranges.widths(space.baseline.stem_width)
    }


class Prices:
    """Times as sums over terms, with measured prices that are never negative.

    The prices are the non-negative least squares (Lawson and Hanson) of weighted errors, with ridges; for
    what, see terms.priced.
    """

    def __init__(
        self, amounts: Sequence[Mapping[Term, float]], times: Sequence[float], weights: Sequence[float]
    ) -> None:
        """Learn the prices.

        Args:
            amounts: the terms of each thing measured.
            times: of each.
            weights: what the error of each counts.
        """
        from scipy.optimize import nnls

        terms_seen = sorted({term for row in amounts for term in row})
        self._names = {name: place for place, name in enumerate(terms_seen)}
        weighted = np.array([self._row(row) for row in amounts]) * np.array(weights)[:, None]
        scale = np.abs(weighted).max(axis=0)
        solution, _ = nnls(
            np.vstack([weighted / scale, np.eye(len(scale)) * _RIDGE]),
            np.concatenate([np.array(times) * np.array(weights), np.zeros(len(scale))]),
            maxiter=100 * len(scale),
        )
        self._prices = solution / scale

    def total(self, amounts: Mapping[Term, float]) -> float:
        """Return the time of what has these terms."""
        return float(self._row(amounts) @ self._prices)

    def _row(self, amounts: Mapping[Term, float]) -> NDArray[np.float64]:
        row = np.zeros(len(self._names))
        for term, amount in amounts.items():
            if term in self._names:
                row[self._names[term]] = amount
        return row


class Prediction:
    """Times of networks: of the stem, which holds the fixed costs of an inference, and of all other layers.

    These are learned from whole networks alone. Blocks measured by themselves, as differences of two short
    chains, bring nothing: a difference has the errors of two measurements, and in a chain the code and the
    weights of all layers stay in the first caches. Mean errors with and without them: 4.8 and 4.0 % in the
    open space at 32 px (95 blocks and 270 networks), 2.7 and 2.8 % in the usual one at 64 px (62 and 230),
    where two measurements of one network differ by 4 %.
    """

    def __init__(
        self,
        space: Space,
        design: Design,
        times: Mapping[str, float],
        unseen: Iterable[Architecture],
        more: Sequence[tuple[Architecture, float]] = (),
    ) -> None:
        """Learn from the times of all networks of the design, by their keys, in any unit.

        `more` are further networks of the space with their times, in the same unit.

        Raises:
            KeyError: one is missing.
        """
        self._space = space
        self._stems = {name: (times[one.key], terms(one)) for name, one in stems(space).items()}
        unseen = list(unseen)
        wholes = [(one, times[one.key], 1.0) for one in design.wholes(space, unseen)]
        begun = [(one, times[one.key]) for one in scalings(space, unseen)]
        amounts, found, weights = [], [], []
        for network, time, weight in (*wholes, *((one, time, _MORE_WEIGHT) for one, time in (*begun, *more))):
            stem_time, variable = self._parts(network)
            amounts.append(variable)
            found.append(time - stem_time)
            weights.append(weight / time)
        self._prices = Prices(amounts, found, weights)

    def time(self, architecture: Architecture) -> float:
        """Return the time of one image, in the unit of the times learned from.

        Raises:
            HarnessError: the architecture is no point of the space.
        """
        if fault := self._space.fault(architecture):
            raise HarnessError(f"The latency table does not know this architecture: {fault}.")
        stem_time, variable = self._parts(architecture)
        return stem_time + self._prices.total(variable)

    def _parts(self, architecture: Architecture) -> tuple[float, dict[Term, float]]:
        """Return the time of the stem, and the terms of the rest."""
        stem_time, of_stem = self._stems[architecture.size, architecture.stem, architecture.stem_width]
        rest = terms(architecture)
        beyond = beyond_caches(rest)
        rest.subtract(of_stem)
        return stem_time, priced({**rest, **beyond})
