"""How the time of a tuning is shared out."""

import math
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.tuner.halving import measurement_count

PILOT_S = 1.0
"""LoadGen's minimum duration of the test that tells what a test costs, and of the shortest tests."""
LEAST_ROUNDS = 5
MOST_ROUNDS = 30
"""Rounds of the re-check: many short ones, as the noise between tests outweighs that within."""

# So long for as many rounds as possible, and longer if there is time for the most.
_CHECK_S = 3.0
_HALVING_SHARE = 0.5
_LONGEST_S = 10.0


@dataclass(frozen=True)
class Schedule:
    """What is measured, and for how long."""

    count: int
    """Candidates that there is time for; 0 when there are none."""
    test_s: float
    """LoadGen's minimum duration of a candidate's test."""
    rounds: int
    """Rounds of the re-check."""
    check_s: float
    """LoadGen's minimum duration in them."""
    reserve_s: float
    """Wall time set aside for the re-check."""


def share_out(
    count: int, pilot_s: float, left_s: float, stretch: float = 1.0, spent_s: float = 0.0, shares: int = 1
) -> Schedule:
    """Return a schedule that fits.

    Args:
        count: candidates.
        pilot_s: wall time of a test with a minimum duration of `PILOT_S`, all told.
        left_s: the time there is.
        stretch: by how much a test outlasts its minimum duration, as a factor.
        spent_s: the time that is gone, the pilot's included.
        shares: how many tunings share the budget that the user gave.

    Raises:
        HarnessError: it does not reach for one candidate and the re-check.
    """
    if count == 0:
        return Schedule(0, PILOT_S, 0, PILOT_S, 0.0)
    reserve_s = (1 - _HALVING_SHARE) * left_s
    overhead_s = pilot_s - PILOT_S
    rounds = int(reserve_s / (2 * (overhead_s + stretch * _CHECK_S)))
    rounds = min(max(rounds, LEAST_ROUNDS), MOST_ROUNDS)
    check_s = (reserve_s / (2 * rounds) - overhead_s) / stretch
    for fitting in range(count, 0, -1):
        test_s = (_HALVING_SHARE * left_s / measurement_count(fitting) - overhead_s) / stretch
        if test_s >= PILOT_S and check_s >= PILOT_S:
            return Schedule(fitting, min(test_s, _LONGEST_S), rounds, min(check_s, _LONGEST_S), reserve_s)
    needed_s = 2 * LEAST_ROUNDS * (overhead_s + stretch * PILOT_S) / (1 - _HALVING_SHARE)
    needed_min = math.ceil(shares * (needed_s + max(pilot_s, spent_s)) / 6) / 10 + 0.1
    raise HarnessError(
        f"Too little time: one test takes {pilot_s:.1f} s here, and {left_s:.0f} s of the budget are left: "
        f"give a --budget of at least {needed_min:.1f} minutes."
    )
