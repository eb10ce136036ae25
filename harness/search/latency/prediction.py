"""From the times of a few hundred networks to the time of any network of the space."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.model.architecture import Architecture
from harness.search.latency import entries
from harness.search.latency.entries import Entry
from harness.search.latency.terms import Term, context, terms
from harness.search.space.ranges import interpolated
from harness.search.space.revisions import Space

# On the built-in task the error hardly changes with these: 0.5 to 1, 0.3 to 3 and 0.001 to 0.1 were tried.
_EXPONENT = 0.5
"""Errors count by the block's time to this power less: 0 would let long blocks rule, 1 the short ones."""
_NETWORK_WEIGHT = 1.0
"""What the relative error of a whole network counts, where a usual block's counts 1."""
_MORE_WEIGHT = 3.0
"""What that of a network counts which was measured because a search has found it: there it goes on."""
_RIDGE = 0.05
"""Pulls what the measurements leave undecided to zero, as a share of each term's largest amount."""


_NETWORKS_A_PRICE = 0.78
"""Random networks for each price that there is to learn: 230 where tables were 2 to 4 % off on others."""
_LEAST_NETWORKS = 60
_SAMPLE_SEED, _SAMPLED = 1, 60
"""Networks that tell which prices a space has."""


@dataclass(frozen=True)
class Design:
    """Which networks a table rests on; the same design of a space always names the same networks."""

    blocks: int = 8
    """Blocks measured in each stage, first and later ones apart."""
    networks: int = 230
    """Random networks of the space, which tell what a block costs in a whole network."""
    seed: int = 1

    @classmethod
    def of(cls, space: Space) -> "Design":
        """Return the usual design: a small space has fewer prices to learn, for which fewer networks do."""
        seen = space.samples(_SAMPLE_SEED, _SAMPLED)
        priced = {term for one in seen for term in (*terms(one), *context(one))}
        return cls(networks=max(_LEAST_NETWORKS, 10 * round(_NETWORKS_A_PRICE * len(priced) / 10)))

    def wholes(self, space: Space, unseen: Iterable[Architecture]) -> list[Architecture]:
        """Return the random networks, none of which is among `unseen`."""
        return space.samples(self.seed, self.networks, unseen)

    def all_networks(self, space: Space, unseen: Iterable[Architecture]) -> list[Architecture]:
        """Return all networks to measure."""
        wanted = [*entries.stems(space).values(), *entries.heads(space).values()]
        wanted += entries.blocks(space, self.blocks, self.seed)
        return [network for entry in wanted for network in entry.networks] + self.wholes(space, unseen)


class Prices:
    """Times as sums over terms, with measured prices that are never negative.

    The prices are the non-negative least squares (Lawson and Hanson) of weighted errors: a price for each
    kind of layer and image size, for one more layer, multiply-accumulate, value read or written, weight.
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
    """Times of networks: stems looked up, heads and blocks interpolated between the measured ones.

    Blocks are measured as differences, in short chains, where little else is timed. But there the code and
    the weights of all layers stay in the first caches; in a whole network they do not. What each kind of
    layer then costs on top is learned together with the rest, from random networks.
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

        def time_of(entry: Entry) -> float:
            before = 0.0 if entry.prefix is None else times[entry.prefix.key]
            return (times[entry.whole.key] - before) / entry.count

        self._stems = {name: (entry.whole, time_of(entry)) for name, entry in entries.stems(space).items()}
        heads: dict[int, dict[int, float]] = {}
        for (size, features), entry in entries.heads(space).items():
            heads.setdefault(size, {})[features] = time_of(entry)
        self._heads = {size: interpolated(found) for size, found in heads.items()}
        measured = entries.blocks(space, design.blocks, design.seed)
        amounts = [
            _less(terms(entry.whole), terms(entry.prefix), entry.count) for entry in measured if entry.prefix
        ]
        found = [time_of(entry) for entry in measured]
        usual = float(np.median(found))
        weights = [usual ** (_EXPONENT - 1) / max(time, usual / 5) ** _EXPONENT for time in found]
        wholes = [(one, times[one.key], _NETWORK_WEIGHT) for one in design.wholes(space, unseen)]
        for network, time, weight in (*wholes, *((one, time, _MORE_WEIGHT) for one, time in more)):
            fixed, variable = self._parts(network)
            amounts.append(variable)
            found.append(time - fixed)
            weights.append(weight / time)
        self._prices = Prices(amounts, found, weights)

    def time(self, architecture: Architecture) -> float:
        """Return the time of one image, in the unit of the times learned from.

        Raises:
            HarnessError: the architecture is no point of the space.
        """
        if fault := self._space.fault(architecture):
            raise HarnessError(f"The latency table does not know this architecture: {fault}.")
        fixed, variable = self._parts(architecture)
        return fixed + self._prices.total(variable)

    def _parts(self, architecture: Architecture) -> tuple[float, dict[Term, float]]:
        """Return the time of stem and head, and the terms of the rest."""
        stem, stem_time = self._stems[architecture.size, architecture.stem, architecture.stem_width]
        last = entries.last_size(self._space, architecture)
        head_time = self._heads[last][architecture.stages[-1].width]
        whole = replace(architecture, classes=stem.classes)
        return stem_time + head_time, _less(terms(whole), terms(stem), 1) | context(whole)


def _less(whole: "Counter[Term]", prefix: "Counter[Term]", count: int) -> dict[Term, float]:
    difference = Counter(whole)
    difference.subtract(prefix)
    return {term: amount / count for term, amount in difference.items() if amount}
