"""Is a latency model good enough to search with? Judged on networks that it has never seen.

It need only propose: what a search wants to train it measures first, and the model learns from that.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_NETWORKS = 30
LARGEST_MAPE = 0.10
LARGEST_BIAS = 0.05
LEAST_TAU = 0.85
TAU_OFF = 0.03
"""A table need not order networks better than measurements order them, and may do so worse by this much."""


@dataclass(frozen=True)
class Validation:
    """Errors as fractions of the measured times."""

    networks: int
    mape: float
    """Mean of the absolute errors."""
    bias: float
    """Mean of the errors; negative: predicted too fast."""
    p90: float
    """90th percentile of the absolute errors."""
    largest: float
    tau: float
    """Kendall's tau-b of predicted and measured times."""
    repeatability: float
    """By how much two measurements of one network differ on average; 0 if none was measured twice."""
    repeated_tau: float
    """Kendall's tau-b of one measurement of each and the medians of its others, on average; 1 likewise."""
    calibrated_mape: float
    """After a straight line has been fitted to the same networks."""
    macs_mape: float
    """Of multiply-accumulates, with a straight line fitted to the same networks."""
    macs_tau: float

    @property
    def faults(self) -> list[str]:
        """Say in which respects the model is not good enough; none: it is."""
        found = []
        if self.networks < LEAST_NETWORKS:
            found.append(f"it was held against {self.networks} networks, {LEAST_NETWORKS} are the least")
        if not self.mape <= LARGEST_MAPE:
            found.append(f"the mean error is {self.mape:.1%}, more than {LARGEST_MAPE:.0%}")
        if not abs(self.bias) <= LARGEST_BIAS:
            found.append(f"the bias is {self.bias:+.1%}, more than {LARGEST_BIAS:.0%}")
        if not self.tau >= self.least_tau:
            found.append(
                f"Kendall's tau is {self.tau:.3f}, less than {self.least_tau:.3f} (of measurements with each "
                f"other {self.repeated_tau:.3f})"
            )
        if not self.mape < self.macs_mape or not self.tau > self.macs_tau:
            found.append(
                f"calibrated multiply-accumulates do as well (mean error {self.macs_mape:.1%}, "
                f"tau {self.macs_tau:.3f})"
            )
        return found

    @property
    def least_tau(self) -> float:
        """What Kendall's tau must reach: LEAST_TAU, or less where measurements agree less with each other."""
        return min(LEAST_TAU, self.repeated_tau - TAU_OFF)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def validate(
    predicted_ms: Sequence[float], measured_ms: Sequence[Sequence[float]], macs: Sequence[int]
) -> Validation:
    """Hold predictions against measurements of the same networks, and beside multiply-accumulates.

    Args:
        predicted_ms: of each network.
        measured_ms: of each network, each time that it was measured, equally often; their median counts.
        macs: of each network.

    Raises:
        ValueError: the lengths differ, or there are fewer than three networks.
    """
    if not len(predicted_ms) == len(measured_ms) == len(macs) >= 3:
        raise ValueError(
            f"{len(predicted_ms)} predictions, {len(measured_ms)} measurements, {len(macs)} networks"
        )
    predicted, visits, work = (np.asarray(values, float) for values in (predicted_ms, measured_ms, macs))
    measured = np.median(visits, axis=1)
    errors = predicted / measured - 1
    return Validation(
        networks=len(measured),
        mape=float(np.abs(errors).mean()),
        bias=float(errors.mean()),
        p90=float(np.percentile(np.abs(errors), 90)),
        largest=float(np.abs(errors).max()),
        tau=_tau(predicted, measured),
        repeatability=_repeatability(visits),
        repeated_tau=_repeated_tau(visits),
        calibrated_mape=_calibrated_mape(predicted, measured),
        macs_mape=_calibrated_mape(work, measured),
        macs_tau=_tau(work, measured),
    )


def _tau(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(one, other).statistic)


def _repeatability(visits: NDArray[np.float64]) -> float:
    pairs = [(visits[:, one], visits[:, other]) for one, other in combinations(range(visits.shape[1]), 2)]
    return float(np.mean([2 * np.abs(one - other) / (one + other) for one, other in pairs])) if pairs else 0.0


def _repeated_tau(visits: NDArray[np.float64]) -> float:
    count = visits.shape[1]
    if count < 2:
        return 1.0
    others = [np.median(np.delete(visits, one, axis=1), axis=1) for one in range(count)]
    return float(np.mean([_tau(visits[:, one], other) for one, other in enumerate(others)]))


def _calibrated_mape(values: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    """Fit a + b * values by least relative squares and return the mean absolute error that is left."""
    relative = np.column_stack([np.ones_like(values), values / values.max()]) / measured[:, None]
    line, *_ = np.linalg.lstsq(relative, np.ones_like(measured), rcond=None)
    return float(np.abs(relative @ line - 1).mean())
