"""The highest rate of random arrivals that a system under test answers in time."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.loadgen.job import Trial
from harness.loadgen.sut import Sut
from harness.mlperf.early_stopping import least_queries

_TRIALS = 6
_LEAST_QUERIES = 100
# Short trials must leave room for what ten minutes bring; so the best of them, a little lucky, is confirmed
# by longer ones at ever lower rates. Where those had to go far down, the way back is bisected.
_BOUND_SHARE = 0.9
_LONGER = 3
_STEPS_DOWN = (0.95, 0.9, 0.8, 0.7, 0.6)
_WAYS_BACK = 2
_NEAR = 0.9
_LEAST_SHARE = 1 / 32
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
    percentile: float,
    trial_s: float,
    report: Callable[[int], None],
) -> tuple[float | None, tuple[Trial, ...]]:
    """Search the rate by bisection, each time with random arrivals at that rate.

    Args:
        make: makes a Server SUT around a function that takes its answers.
        indices: loaded samples.
        ceiling_qps: the rate with all streams busy, which no queue can exceed.
        bound_ns: the percentile of the latency must be within this.
        percentile: in per cent.
        trial_s: duration of a trial, which lasts at least 30 bounds and 100 queries; the ones that confirm
            last three times as long, and as many queries as early stopping needs with one that is late.
        report: told the number of samples answered so far.

    Returns:
        A rate little below the highest at which the percentile stayed within 90 % of the bound, None if it
        did at no rate down to a 32nd of the ceiling; and all trials.
    """
    arrivals = _Arrivals(make, indices, percentile, report)
    overload = _LEAST_QUERIES / 10 + _OVERLOADED_BOUNDS * bound_ns / 1e9 * ceiling_qps
    seconds = max(trial_s, _LEAST_BOUNDS * bound_ns / 1e9)
    trials: list[Trial] = []

    def holds(qps: float, longer: bool) -> bool:
        least = least_queries(1, percentile) if longer else _LEAST_QUERIES
        count = max(least, round(qps * seconds * (_LONGER if longer else 1)))
        most_ns = _BOUND_SHARE * bound_ns
        latency_ns = arrivals.latency_ns(qps, count, overload, most_ns)
        stated = latency_ns if math.isfinite(latency_ns) else None
        trials.append(Trial(qps, stated, latency_ns <= most_ns))
        return trials[-1].held

    def bisected(held_qps: float, failed_qps: float, longer: bool) -> tuple[float, float]:
        qps = (held_qps + failed_qps) / 2
        return (qps, failed_qps) if holds(qps, longer) else (held_qps, qps)

    held_qps, failed_qps = 0.0, ceiling_qps
    while len(trials) < (_TRIALS if held_qps else _TRIALS - 2):
        held_qps, failed_qps = bisected(held_qps, failed_qps, longer=False)

    steps = chain(_STEPS_DOWN, repeat(_STEPS_DOWN[-1]))
    qps = (held_qps or failed_qps) * next(steps)
    while (confirmable := qps >= _LEAST_SHARE * ceiling_qps) and not holds(qps, longer=True):
        failed_qps, qps = qps, qps * next(steps)
    for _ in range(_WAYS_BACK if confirmable else 0):
        if qps < _NEAR * failed_qps:
            qps, failed_qps = bisected(qps, failed_qps, longer=True)
    arrivals.sut.close()
    return qps if confirmable else None, tuple(trials)


class _Arrivals:
    """Issues samples as LoadGen's Server scenario does: one by one, at the times of a Poisson process."""

    def __init__(
        self,
        make: Callable[[Callable[[list[Any]], None]], Sut],
        indices: Sequence[int],
        percentile: float,
        report: Callable[[int], None],
    ) -> None:
        self._indices = indices
        self._share = percentile / 100
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

    def _report_at_times(self) -> bool:
        """Report once a second; return whether it was time."""
        now_ns = time.perf_counter_ns()
        if now_ns >= self._next_report_ns:
            self._next_report_ns = now_ns + _REPORT_NS
            self._report(self.sut.completed)
            return True
        return False

    def latency_ns(self, qps: float, count: int, overload: float, most_ns: float) -> float:
        """Return the percentile of the latency from the scheduled arrival on.

        It is infinite when more than `overload` samples wait at a time, and that of the answers so far when
        so many of them took more than `most_ns` that it cannot be less.
        """
        due_ns = (self._random.exponential(1e9 / qps, count).cumsum()).astype(np.int64)
        picked = self._random.choice(np.asarray(self._indices), count).tolist()
        self._done_ns = np.zeros(count, np.int64)
        before = self.sut.completed
        due_ns += time.perf_counter_ns()
        issued, overloaded = 0, False
        for due, index in zip(due_ns.tolist(), picked, strict=True):
            wait_s = (due - time.perf_counter_ns()) / 1e9
            if wait_s > 0:
                time.sleep(wait_s)
            self.sut.issue([issued], [index])
            issued += 1
            if overloaded := issued - (self.sut.completed - before) > overload:
                break
            if self._report_at_times():
                # What is not answered yet has a time of 0, and so is not late.
                late = np.count_nonzero(self._done_ns[:issued] - due_ns[:issued] > most_ns)
                if late > (1 - self._share) * count:
                    break
        while self.sut.completed - before < issued:
            time.sleep(0.001)
            self._report_at_times()
        self._report(self.sut.completed)
        if overloaded:
            return float("inf")
        return float(np.sort(self._done_ns[:issued] - due_ns[:issued])[int(issued * self._share)])
