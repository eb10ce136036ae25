"""The highest rate of random arrivals that a system under test answers in time."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.job import Trial
from harness.sut import Sut

_TRIALS = 6
_LEAST_QUERIES = 100
_PERCENTILE = 0.99
# Short trials must leave room for what ten minutes bring; so the best of them, a little lucky, is confirmed
# by a longer one at a lower rate, and if need be by another.
_BOUND_SHARE = 0.9
_CONFIRMATIONS = 3
_STEP_DOWN = 0.95
# A queue that grows without end must have the time to reach the bound.
_LEAST_BOUNDS = 30
_OVERLOADED_BOUNDS = 5
_SEED = 1
_REPORT_NS = 1_000_000_000


def find_rate(
    make: Callable[[Callable[[list[Any]], None]], Sut],
    indices: Sequence[int],
    ceiling_qps: float,
    bound_ns: int,
    trial_s: float,
    report: Callable[[int], None],
) -> tuple[float | None, tuple[Trial, ...]]:
    """Search the rate by bisection, each time with random arrivals at that rate.

    Args:
        make: makes a Server SUT around a function that takes its answers.
        indices: loaded samples.
        ceiling_qps: the rate with all streams busy, which no queue can exceed.
        bound_ns: 99 % of the answers must come within this.
        trial_s: duration of a trial, which lasts at least 30 bounds and 100 queries.
        report: told the number of samples answered so far.

    Returns:
        A rate little below the highest at which p99 stayed within 90 % of the bound, None if it did at no
        rate down to a 16th of the ceiling or could not be confirmed; and all trials.
    """
    arrivals = _Arrivals(make, indices, report)
    overload = _LEAST_QUERIES / 10 + _OVERLOADED_BOUNDS * bound_ns / 1e9 * ceiling_qps
    seconds = max(trial_s, _LEAST_BOUNDS * bound_ns / 1e9)
    trials: list[Trial] = []

    def holds(qps: float, seconds: float) -> bool:
        p99_ns = arrivals.p99_ns(qps, max(_LEAST_QUERIES, round(qps * seconds)), overload)
        stated = p99_ns if math.isfinite(p99_ns) else None
        trials.append(Trial(qps, stated, p99_ns <= _BOUND_SHARE * bound_ns))
        return trials[-1].held

    held_qps, failed_qps = 0.0, ceiling_qps
    while len(trials) < (_TRIALS if held_qps else _TRIALS - 2):
        qps = (held_qps + failed_qps) / 2
        if holds(qps, seconds):
            held_qps = qps
        else:
            failed_qps = qps
    found = None
    for _ in range(_CONFIRMATIONS if held_qps else 0):
        held_qps *= _STEP_DOWN
        if holds(held_qps, _CONFIRMATIONS * seconds):
            found = held_qps
            break
    arrivals.sut.close()
    return found, tuple(trials)


class _Arrivals:
    """Issues samples as LoadGen's Server scenario does: one by one, at the times of a Poisson process."""

    def __init__(
        self,
        make: Callable[[Callable[[list[Any]], None]], Sut],
        indices: Sequence[int],
        report: Callable[[int], None],
    ) -> None:
        self._indices = indices
        self._report = report
        self._random = np.random.default_rng(_SEED)
        self._next_report_ns = 0
        self._done_ns: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.sut = make(self._complete)
        self.sut.samples_loaded()

    def _complete(self, slots: list[Any]) -> None:
        now_ns = time.perf_counter_ns()
        for slot in slots:
            self._done_ns[slot.id] = now_ns

    def _report_at_times(self) -> None:
        now_ns = time.perf_counter_ns()
        if now_ns >= self._next_report_ns:
            self._next_report_ns = now_ns + _REPORT_NS
            self._report(self.sut.completed)

    def p99_ns(self, qps: float, count: int, overload: float) -> float:
        """Return the 99th percentile of latency from the scheduled arrival on.

        It is infinite when more than `overload` samples wait at a time.
        """
        due_ns = (self._random.exponential(1e9 / qps, count).cumsum()).astype(np.int64)
        picked = self._random.choice(np.asarray(self._indices), count).tolist()
        self._done_ns = np.zeros(count, np.int64)
        before = self.sut.completed
        due_ns += time.perf_counter_ns()
        issued = 0
        for due, index in zip(due_ns.tolist(), picked, strict=True):
            wait_s = (due - time.perf_counter_ns()) / 1e9
            if wait_s > 0:
                time.sleep(wait_s)
            self.sut.issue([issued], [index])
            issued += 1
            if issued - (self.sut.completed - before) > overload:
                break
            self._report_at_times()
        while self.sut.completed - before < issued:
            time.sleep(0.001)
            self._report_at_times()
        self._report(self.sut.completed)
        if issued < count:
            return float("inf")
        return float(np.sort(self._done_ns - due_ns)[int(count * _PERCENTILE)])
