"""What counts in a network: an additive estimator, such as missing work, corrected by the truth.

Networks of as much work, and of one latency, are not equally accurate. So the accuracies of a few, each
briefly trained, are explained in two steps:

1. A level less non-negative weights times burdens: what the estimator says that a network costs, and
   logarithms of the shares that are left of the baseline's widths, depths and middles, summed over stages.
   The latter say that halving any stage costs the same, as in a production function of Cobb and Douglas ("A
   Theory of Production", American Economic Review 18(1), 1928), so that no stage is given up for the others.
2. What that leaves, by a Gaussian process (Rasmussen and Williams, "Gaussian Processes for Machine Learning",
   2006, chapter 2): networks alike err alike, and of one that is unlike all others less is known.

Costs of single decisions, distilled block by block from the baseline, were tried as burdens, too, and did not
pay (benchmarks/README.md, "What pays in a search"). Sizes of whole networks instead of shares explained
networks that were alike as well, and were misled by others.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from harness.model.architecture import Architecture, Stage
from harness.model.blocks import FORMS
from harness.search.accuracy.estimator import Additive

_PULL = 0.1
"""Of each kind's weight to one that they have in common, over the mean spread of costs: what was not seen to
cost nothing is not free."""
_RIDGE = 0.1
"""Pulls the weight of each share to zero, over its spread."""
_NO_SPREAD = 1e-9
_REMEMBERED = 4096
"""Networks whose place among others is kept: a climb asks for that of its start at every step."""
_NO_STAGE = 0.5
"""Blocks that a stage counts as which is not there."""
_SHARES = ("share of width", "share of depth", "share of middle")

_REACH = 1.0
"""How far networks are alike, in the unit of `_traits`."""
_KNOWN = 2.0
"""How unlike all that was seen a network may be and something still be known of it; see `unlikeness`."""
_HOMEWARD = 0.01
"""Accuracy that is lost a unit further out, so that climbs find back."""
_NOISE = 0.25
"""Of a single look, over what the first step leaves."""
_CURIOSITY = 0.5
"""Deviations by which a promise is more: what is looked at next should tell something new."""

Floats = NDArray[np.float64]
Seen = tuple[Architecture, float]
"""A network and its accuracy, as a fraction."""


@dataclass(frozen=True)
class Weighed:
    """An additive estimator, weighed and corrected by networks seen."""

    estimator: Additive
    baseline: Architecture
    level: float
    weights: Mapping[str, float]
    """By kind of decision, or name of a share."""
    least: Mapping[str, float]
    """Of each kind's burdens that were seen: what weighs less is not known to be better."""
    deviation: float
    """Of what was seen from the weighed sums."""
    traits: Floats
    """[seen, traits]."""
    precision: Floats
    """[seen, seen], inverse of the covariance of what was seen, over the square of the deviation."""
    residuals: Floats
    """[seen]: accuracies less the weighed sums."""
    worst: float
    """The least accuracy that was seen."""

    @property
    def name(self) -> str:
        return f"{self.estimator.name}, weighed"

    def expected(self, architecture: Architecture) -> tuple[float, float]:
        """Return the accuracy that is expected, and its standard deviation, as fractions."""
        burdens, traits = _described(self.estimator, self.baseline, architecture)
        return self._expected(burdens, traits)

    def score(self, architecture: Architecture) -> float:
        """Return what is expected."""
        return self.expected(architecture)[0]

    def promise(self, architecture: Architecture) -> float:
        """Return what is expected, and something for what may be learned.

        Far from all that was seen it is less than the worst of that. A weighed sum knows nothing there, and a
        latency table little: without this a search on CIFAR-10 expected 73 % where 67 were the best that was
        seen, of networks that took twice the time foreseen.
        """
        burdens, traits = _described(self.estimator, self.baseline, architecture)
        mean, deviation = self._expected(burdens, traits)
        found = mean + _CURIOSITY * deviation
        beyond = float(np.linalg.norm(self.traits - traits, axis=1).min()) - _KNOWN
        return found if beyond <= 0 else min(found, self.worst) - _HOMEWARD * beyond

    def _expected(self, burdens: Mapping[str, float], traits: Floats) -> tuple[float, float]:
        mean = self.level - sum(
            weight * max(burdens[name], self.least[name]) for name, weight in self.weights.items()
        )
        alike = _alike(self.traits, traits[None])[:, 0]
        known = alike @ self.precision
        left = self.deviation**2 * max(0.0, float(1 - known @ alike))
        return mean + float(known @ self.residuals), math.sqrt(left)


def weigh(estimator: Additive, baseline: Architecture, seen: Sequence[Seen]) -> Weighed:
    """Return the estimator with what explains best what was seen.

    The weights are non-negative least squares (Lawson and Hanson) with ridges.

    Raises:
        ValueError: nothing was seen.
    """
    if not seen:
        raise ValueError("no network was seen")
    rows, places = zip(*(_described(estimator, baseline, one) for one, _ in seen), strict=True)
    burdens, traits = np.array([list(row.values()) for row in rows]), np.array(places)
    accuracies = np.array([accuracy for _, accuracy in seen])
    level, weights = _weights(burdens, accuracies)
    residuals = accuracies - (level - burdens @ weights)
    covariance = _alike(traits, traits) + _NOISE**2 * np.eye(len(seen))
    return Weighed(
        estimator,
        baseline,
        level,
        dict(zip(rows[0], weights.tolist(), strict=True)),
        dict(zip(rows[0], burdens.min(axis=0).tolist(), strict=True)),
        float(residuals.std()),
        traits,
        np.asarray(np.linalg.inv(covariance), np.float64),
        residuals,
        float(accuracies.min()),
    )


def unlikeness(baseline: Architecture, one: Architecture, other: Architecture) -> float:
    """Return how far two networks are from each other, in the unit of _REACH."""
    return float(np.linalg.norm(_placed(baseline, one)[1] - _placed(baseline, other)[1]))


def left_out(estimator: Additive, baseline: Architecture, seen: Sequence[Seen]) -> list[float]:
    """Return for each of at least two networks the accuracy expected by what all the others lead to."""
    return [
        weigh(estimator, baseline, [*seen[:place], *seen[place + 1 :]]).expected(one)[0]
        for place, (one, _) in enumerate(seen)
    ]


def _weights(burdens: Floats, accuracies: Floats) -> tuple[float, Floats]:
    """Return the level and the weights of [seen, burdens], of which the last are the shares."""
    from scipy.optimize import nnls

    seen, count = burdens.shape
    kinds = count - len(_SHARES)
    # From the least of each on, so that the level, too, is never negative.
    least, spread = burdens.min(axis=0), burdens.std(axis=0)
    spread[:kinds] = spread[:kinds].mean()
    spread[spread < _NO_SPREAD] = np.inf
    # Unknown are the level, the weights, and that which kinds have in common.
    explained = np.hstack([np.ones((seen, 1)), (least - burdens) / spread, np.zeros((seen, 1))])
    pulls = np.diag([0.0, *[_PULL] * kinds, *[_RIDGE] * len(_SHARES), 0.0])[1:-1]
    pulls[:kinds, -1] = -_PULL
    found, _ = nnls(np.vstack([explained, pulls]), np.concatenate([accuracies, np.zeros(count)]))
    weights = found[1:-1] / spread
    return float(found[0] + weights @ least), weights


def _alike(some: Floats, others: Floats) -> Floats:
    """Return [some, others]: from 1 for networks with the same traits to 0."""
    squares = ((some[:, None] - others[None]) ** 2).sum(axis=2)
    found: Floats = np.exp(-squares / (2 * _REACH**2))
    return found


def _described(
    estimator: Additive, baseline: Architecture, architecture: Architecture
) -> tuple[dict[str, float], Floats]:
    """Return a network's burdens, costs first and then shares, and its traits, ordered as any other's."""
    shares, traits = _placed(baseline, architecture)
    costs = estimator.costs(architecture)
    return {**{kind: costs[kind] for kind in sorted(costs)}, **shares}, traits


@lru_cache(_REMEMBERED)
def _placed(baseline: Architecture, architecture: Architecture) -> tuple[Mapping[str, float], Floats]:
    """Return a network's shares, summed over stages, and its traits."""
    shares = [_shares(*pair) for pair in zip_longest(architecture.stages, baseline.stages)]
    sums = map(sum, zip(*shares, strict=True))
    return dict(zip(_SHARES, sums, strict=True)), _traits(baseline, architecture, shares)


def _traits(
    baseline: Architecture, architecture: Architecture, shares: Sequence[tuple[float, float, float]]
) -> Floats:
    """Return where a network lies among others: what its stages and blocks are, halvings counting alike."""
    blocks = [block for stage in architecture.stages for block in stage.blocks]
    found = [
        math.log(architecture.size / baseline.size),
        0.5 * math.log(architecture.stem_width / baseline.stem_width),
        float(architecture.stem != baseline.stem),
        statistics.fmean(block.squeeze_excite for block in blocks),
        statistics.fmean(block.activation != "relu" for block in blocks),
        float(architecture.early_stride != baseline.early_stride),
    ]
    # As many for each network of a space, whose stages are one more than the baseline's at most.
    stages = [*architecture.stages, *[None] * (1 + len(baseline.stages) - len(architecture.stages))]
    for stage, (width, depth, middle) in zip_longest(stages, shares, fillvalue=(0.0, 0.0, 0.0)):
        replaced, form = 0.0, ""
        if isinstance(stage, Stage):
            replaced = statistics.fmean(block.kind != "dense" for block in stage.blocks)
            form = stage.blocks[0].form
        found += [width, depth, 0.5 * middle, 0.7 * replaced, *(0.7 * (form == one) for one in FORMS)]
    return np.array(found)


def _shares(stage: Stage | None, whole: Stage | None) -> tuple[float, float, float]:
    """Return minus the logarithms of the shares of width, depth and, on average, middle.

    A stage that is missing on either side counts as half a block of the other's width.
    """
    if stage is None or whole is None:
        blocks = [_NO_STAGE if one is None else len(one.blocks) for one in (stage, whole)]
        return 0.0, -math.log(blocks[0] / blocks[1]), 0.0
    pairs = zip(stage.blocks, whole.blocks, strict=False)
    return (
        -math.log(stage.width / whole.width),
        -math.log(len(stage.blocks) / len(whole.blocks)),
        -statistics.fmean(math.log(stage.inside(block) / whole.inside(old)) for block, old in pairs),
    )
