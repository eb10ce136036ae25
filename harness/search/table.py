"""From the times of a few hundred networks to the time of any network of the space."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.architecture import Architecture
from harness.errors import HarnessError
from harness.search import entries
from harness.search.entries import Entry
from harness.search.space import Space
from harness.search.terms import Term, terms

# Chosen by cross-validation over measured blocks and confirmed on the held-out networks of other seeds.
_EXPONENT = 0.5
"""Errors count by the block's time to this power less: 0 would let long blocks rule, 1 the short ones."""
_RIDGE = 0.03
"""Pulls what the blocks leave undecided to zero, in shares of the median block for each largest term."""


@dataclass(frozen=True)
class Design:
    """Which networks a table rests on; the same design of a space always names the same networks."""

    blocks: int = 24
    """Blocks measured in each stage, first and later ones apart."""
    seed: int = 1

    def networks(self, space: Space) -> dict[str, Architecture]:
        """Return all networks to measure, by their keys."""
        wanted = [*entries.stems(space).values(), *entries.heads(space).values()]
        wanted += entries.blocks(space, self.blocks, self.seed)
        return {network.key: network for entry in wanted for network in entry.networks}


class Interpolation:
    """Times of blocks as a sum over their layers' terms, with measured prices that are never negative.

    The prices are the non-negative least squares (Lawson and Hanson) over all measured blocks: a price for
    each kind of layer and image size, for one more layer, multiply-accumulate, value read or written, weight.
    """

    def __init__(self, amounts: Sequence[Mapping[Term, float]], times_ms: Sequence[float]) -> None:
        """Learn the prices.

        Args:
            amounts: the terms of each measured block.
            times_ms: its time.
        """
        from scipy.optimize import nnls

        self._names = {
            name: place for place, name in enumerate(sorted({term for row in amounts for term in row}))
        }
        matrix = np.array([self._row(row) for row in amounts])
        times = np.array(times_ms)
        usual = float(np.median(times))
        weights = usual ** (_EXPONENT - 1) / np.maximum(times, usual / 5) ** _EXPONENT
        scale = np.abs(matrix).max(axis=0)
        ridge = np.eye(len(scale)) * _RIDGE
        solution, _ = nnls(
            np.vstack([matrix / scale * weights[:, None], ridge]),
            np.concatenate([times * weights, np.zeros(len(scale))]),
            maxiter=100 * len(scale),
        )
        self._prices = solution / scale

    def ms(self, amounts: Mapping[Term, float]) -> float:
        """Return the time of what has these terms."""
        return float(self._row(amounts) @ self._prices)

    def _row(self, amounts: Mapping[Term, float]) -> NDArray[np.float64]:
        row = np.zeros(len(self._names))
        for term, amount in amounts.items():
            if term in self._names:
                row[self._names[term]] = amount
        return row


class Prediction:
    """Times of networks: stems and heads looked up, blocks interpolated between the measured ones."""

    def __init__(self, space: Space, design: Design, times_ms: Mapping[str, float]) -> None:
        """Learn from the times of all networks of the design, by their keys."""
        self._space = space

        def time_ms(entry: Entry) -> float:
            before = 0.0 if entry.prefix is None else times_ms[entry.prefix.key]
            return (times_ms[entry.whole.key] - before) / entry.count

        self._stems = {name: (entry.whole, time_ms(entry)) for name, entry in entries.stems(space).items()}
        self._heads = {name: (entry.prefix, time_ms(entry)) for name, entry in entries.heads(space).items()}
        measured = entries.blocks(space, design.blocks, design.seed)
        self._blocks = Interpolation(
            [
                _less(terms(entry.whole), terms(entry.prefix), entry.count)
                for entry in measured
                if entry.prefix
            ],
            [time_ms(entry) for entry in measured],
        )

    def ms(self, architecture: Architecture) -> float:
        """Return the milliseconds of one image.

        Raises:
            HarnessError: the architecture is no point of the space.
        """
        if fault := self._space.fault(architecture):
            raise HarnessError(f"The latency table does not know this architecture: {fault}.")
        stem, stem_ms = self._stems[architecture.size, architecture.stem, architecture.stem_width]
        last = entries.stage_sizes(self._space, architecture.size)[-1]
        _, head_ms = self._heads[last, architecture.stages[-1].width]
        whole = replace(architecture, classes=stem.classes)
        return stem_ms + self._blocks.ms(_less(terms(whole), terms(stem), 1)) + head_ms


def _less(whole: "Counter[Term]", prefix: "Counter[Term]", count: int) -> dict[Term, float]:
    difference = Counter(whole)
    difference.subtract(prefix)
    return {term: amount / count for term, amount in difference.items() if amount}
