"""Is a latency model good enough to search with? Judged on networks that it has never seen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_NETWORKS = 30
LARGEST_MAPE = 0.05
LARGEST_BIAS = 0.03
LEAST_TAU = 0.95


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
        if not self.tau >= LEAST_TAU:
            found.append(f"Kendall's tau is {self.tau:.3f}, less than {LEAST_TAU}")
        if not self.mape < self.macs_mape or not self.tau > self.macs_tau:
            found.append(
                f"calibrated multiply-accumulates do as well (mean error {self.macs_mape:.1%}, "
                f"tau {self.macs_tau:.3f})"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def validate(predicted_ms: Sequence[float], measured_ms: Sequence[float], macs: Sequence[int]) -> Validation:
    """Hold predictions against measurements of the same networks, and beside multiply-accumulates.

    Raises:
        ValueError: the lengths differ, or there are fewer than three networks.
    """
    predicted, measured, work = (np.asarray(values, float) for values in (predicted_ms, measured_ms, macs))
    if not len(predicted) == len(measured) == len(work) >= 3:
        raise ValueError(f"{len(predicted)} predictions, {len(measured)} measurements, {len(work)} networks")
    errors = predicted / measured - 1
    return Validation(
        networks=len(measured),
        mape=float(np.abs(errors).mean()),
        bias=float(errors.mean()),
        p90=float(np.percentile(np.abs(errors), 90)),
        largest=float(np.abs(errors).max()),
        tau=_tau(predicted, measured),
        calibrated_mape=_calibrated_mape(predicted, measured),
        macs_mape=_calibrated_mape(work, measured),
        macs_tau=_tau(work, measured),
    )


def _tau(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(one, other).statistic)


def _calibrated_mape(values: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    """Fit a + b * values by least relative squares and return the mean absolute error that is left."""
    relative = np.column_stack([np.ones_like(values), values / values.max()]) / measured[:, None]
    line, *_ = np.linalg.lstsq(relative, np.ones_like(measured), rcond=None)
    return float(np.abs(relative @ line - 1).mean())
