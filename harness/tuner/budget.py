"""How the time of a tuning is shared out."""

import math
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.tuner.halving import KEEP, rung_sizes

PILOT_S = 1.0
"""LoadGen's minimum duration of the test that tells what a test costs, and of the shortest tests."""
CHECK_ROUNDS = 5
"""Rounds of the re-check."""

_HALVING_SHARE = 0.6
# Longer tests tell no more: the noise between tests outweighs that within.
_LONGEST_FIRST_S = 5.0
_LONGEST_S = 20.0


@dataclass(frozen=True)
class Schedule:
    """What is measured, and for how long."""

    count: int
    """Candidates that there is time for."""
    first_s: float
    """LoadGen's minimum duration on the first rung."""
    check_s: float
    """The same in the re-check."""
    reserve_s: float
    """Wall time set aside for the re-check."""

    def seconds(self, rung: int) -> float:
        return min(self.first_s * float(KEEP**rung), _LONGEST_S)


def share_out(count: int, pilot_s: float, left_s: float, stretch: float = 1.0) -> Schedule:
    """Return a schedule that fits.

    Args:
        count: candidates.
        pilot_s: wall time of a test with a minimum duration of `PILOT_S`, all told.
        left_s: the time there is.
        stretch: by how much a test outlasts its minimum duration, as a factor.

    Raises:
        HarnessError: it does not reach for two candidates and the re-check.
    """
    reserve_s = (1 - _HALVING_SHARE) * left_s
    overhead_s = pilot_s - PILOT_S
    check_s = (reserve_s / (2 * CHECK_ROUNDS) - overhead_s) / stretch
    for fitting in range(count, 0, -1):
        sizes = rung_sizes(fitting)
        fixed_s = sum(sizes) * overhead_s
        weight = stretch * sum(size * KEEP**rung for rung, size in enumerate(sizes))
        first_s = (_HALVING_SHARE * left_s - fixed_s) / weight
        if first_s >= PILOT_S and check_s >= PILOT_S:
            return Schedule(fitting, min(first_s, _LONGEST_FIRST_S), min(check_s, _LONGEST_S), reserve_s)
    needed_s = 2 * CHECK_ROUNDS * (overhead_s + stretch * PILOT_S) / (1 - _HALVING_SHARE)
    raise HarnessError(
        f"Too little time: one test takes {pilot_s:.1f} s here, and {left_s:.0f} s of the budget are left: "
        f"give a --budget of at least {math.ceil((needed_s + pilot_s) / 6) / 10 + 0.1:.1f} minutes."
    )
