"""How sure a comparison is: bootstrap intervals over rounds, rounds still needed, and looks at them.

Rounds multiply: a machine that is 5 % slower for a while is so for all variants. All means are therefore
geometric, which also makes the ratio of two means the mean of the ratios.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 10_000
SEED = 2020
MOST_ROUNDS = 1000
"""Beyond so many rounds no answer is promised."""
_FIRST_SHARE = 0.8
"""Of what all looks may err, what the first may: most comparisons have no other."""


class Outcome(StrEnum):
    FASTER = "faster"
    SLOWER = "slower"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Interval:
    """A geometric mean with its interval."""

    center: float
    low: float
    high: float
    count: int
    """Rounds behind it."""

    @property
    def outcome(self) -> Outcome:
        """What a ratio of speeds says: a difference only when the interval excludes 1."""
        if self.low > 1:
            return Outcome.FASTER
        return Outcome.SLOWER if self.high < 1 else Outcome.UNDECIDED


def level(look: int) -> float:
    """Return the confidence of the intervals at a look, such that those of all looks hold with CONFIDENCE.

    Who looks, adds rounds and looks again has another chance of a false call each time. So every look spends
    a part of what may err (Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika
    70(3), 1983), the first 0.8 of it and each later one half of what is left; and what is shown are
    repeated confidence intervals (Jennison and Turnbull, "Interim analyses: the repeated confidence interval
    approach", Journal of the Royal Statistical Society B 51(3), 1989). The parts add up (Bonferroni), so a
    look may come after any number of rounds and none is the last. That looks share rounds is not made use of.

    Args:
        look: counted from 1; 0: nobody has counted, and it is taken for the only one.
    """
    if look == 0:
        return CONFIDENCE
    error = 1 - CONFIDENCE
    if look == 1:
        return 1 - _FIRST_SHARE * error
    return 1 - (1 - _FIRST_SHARE) * error * 0.5 ** (look - 1)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of positive values, one a round, with its bootstrap interval.

    The percentile bootstrap is too narrow for few rounds (Hesterberg, "What Teachers Should Know About the
    Bootstrap", The American Statistician 69(4), 2015, section 4.3: narrowness bias, and z where t is due).
    The resampled deviations are therefore stretched by sqrt(n / (n - 1)) and by t / z; those of two rounds,
    which have three values only, to the t interval, which is also the least beyond CONFIDENCE.

    Raises:
        ValueError: fewer than two values, or one that is not positive and finite.
    """
    if len(values) < 2:
        raise ValueError("an interval needs at least two rounds")
    if not all(0 < value < math.inf for value in values):
        raise ValueError("a measurement must be positive and finite")
    logs = np.log(np.asarray(values, np.float64))
    center = float(logs.mean())
    deviations = _resampled_means(logs) - center
    tail = (1 - confidence) / 2
    low, high = np.quantile(deviations, [tail, 1 - tail]) * _stretch(len(values), confidence)
    if confidence > CONFIDENCE:
        # Beyond that a few values have no tails to draw from.
        half = _t_quantile(len(values), confidence) * float(logs.std(ddof=1)) / math.sqrt(len(values))
        low, high = min(low, -half), max(high, half)
    return Interval(
        math.exp(center), math.exp(center + min(low, 0)), math.exp(center + max(high, 0)), len(values)
    )


def speedup(subject: Sequence[float], reference: Sequence[float]) -> Interval:
    """Return how many times faster the subject's speeds are, paired by round.

    Raises:
        ValueError: as `interval`, or the two have different numbers of rounds.
    """
    return interval([one / other for one, other in zip(subject, reference, strict=True)])


def rounds_needed(ratios: Sequence[float], confidence: float = CONFIDENCE) -> int | None:
    """Return how many rounds, all told, would probably show a difference of the size and spread seen here.

    It is the least n for which the t interval excludes 1 with a chance of 80 %: (t + t') s / sqrt(n) falls
    below the mean log ratio, with the quantiles t of `confidence` and t' of POWER (Cohen, "Statistical Power
    Analysis for the Behavioral Sciences", 1988). None when even MOST_ROUNDS would not do.
    """
    logs = np.log(np.asarray(ratios, np.float64))
    size, spread = abs(float(logs.mean())), float(logs.std(ddof=1))
    counts = np.arange(2, MOST_ROUNDS + 1)
    margins = stdtrit(counts - 1, (1 + confidence) / 2) + stdtrit(counts - 1, POWER)
    enough = np.flatnonzero(margins * spread / np.sqrt(counts) < size)
    return int(counts[enough[0]]) if len(enough) else None


def _resampled_means(logs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(SEED)
    chosen = generator.integers(0, len(logs), (RESAMPLES, len(logs)))
    means: npt.NDArray[np.float64] = logs[chosen].mean(axis=1)
    return means


def _stretch(count: int, confidence: float) -> float:
    if count == 2:
        # Their quantiles are half the difference, which is the standard error.
        return _t_quantile(count, confidence)
    narrow = float(ndtri((1 + confidence) / 2))
    return _t_quantile(count, confidence) / narrow * math.sqrt(count / (count - 1))


def _t_quantile(count: int, confidence: float) -> float:
    return float(stdtrit(count - 1, (1 + confidence) / 2))
