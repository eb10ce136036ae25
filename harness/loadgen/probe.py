"""Measures, without LoadGen, what LoadGen wants to be told, and the settings that serve a scenario best."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Event, Lock
from typing import Any

from harness.backend.graph import Compiled
from harness.errors import ModelError
from harness.loadgen.job import AnsweredWrongly, Estimate
from harness.loadgen.proof import Prover
from harness.loadgen.rate import find_rate
from harness.loadgen.settings import MOST_CALLS, RunSettings, doublings
from harness.loadgen.subject import Backend
from harness.loadgen.sut import make_sut
from harness.machine import system
from harness.mlperf.scenario import Scenario
from harness.process.undisturbed import undisturbed

_RESIDENT = 256
_WINDOWS = 8
_LEAST_QUERIES = 5
_REPORT_S = 1.0
_MAX_BATCH = 8
# A larger batch must be worth its latency; and a sample that comes while one is computed waits for two.
_LEAST_GAIN = 1.03
_BOUND_SHARE = 0.5
_LONGEST = 4
"""So many times the time that there is may the windows of a served model take."""
_FLAT = 2
"""So often in turn more calls in flight may bring nothing, as one measurement may be disturbed."""


def measure(backend: Backend) -> dict[str, Any]:
    """Probe for about the job's `probe_s`; return what OpenVINO made of the model, and the `Estimate`.

    Raises:
        HarnessError: the model is unusable.
    """
    qsl, count = backend.qsl, backend.job.samples_per_query
    indices = list(range(min(qsl.count, _RESIDENT)))
    # Padded like LoadGen's MultiStream load order.
    order = (indices * count)[: len(indices) + count - 1]
    qsl.load(order)
    with undisturbed():
        compiled, estimate = _PROBES[backend.job.settings.scenario](backend, order)
    return {**backend.facts(compiled), "estimate": replace(estimate, server=backend.server(compiled))}


class _Slot:
    """A response that goes nowhere."""

    id = 0
    size = 0


class _Driver:
    """Gives a SUT one query after another, and waits until all of its samples are answered."""

    def __init__(self, backend: Backend, scenario: Scenario, compiled: Sequence[Compiled]) -> None:
        self._lock = Lock()
        self._finished = Event()
        self._pending = 0
        self.compiled = compiled[-1]
        self.sut = make_sut(
            scenario,
            compiled,
            backend.qsl,
            lambda *_: _Slot(),
            self._complete,
            backend.inference_failed,
            backend.job.samples_per_query,
            backend.make_lane,
        )
        self.sut.samples_loaded()

    def _complete(self, slots: list[Any]) -> None:
        with self._lock:
            self._pending -= len(slots)
            if self._pending == 0:
                self._finished.set()

    def time_ns(self, query: list[int]) -> int:
        self._pending = len(query)
        self._finished.clear()
        start_ns = time.perf_counter_ns()
        self.sut.issue(query, query)
        self._finished.wait()
        return time.perf_counter_ns() - start_ns


def _latency(backend: Backend, order: list[int]) -> tuple[Compiled, Estimate]:
    """SingleStream and MultiStream: the way to compute a query with the lowest median latency.

    The candidates take turns, so that a busy neighbour slows all of them down.
    """
    job, count, prover = backend.job, backend.job.samples_per_query, Prover(backend)
    drivers = [
        _Driver(backend, job.settings.scenario, [compiled])
        for settings in _parts(backend)
        if (compiled := _compile(backend, prover, settings)) is not None
    ]
    backend.report("phase", "probing")
    latencies_ns: list[list[int]] = [[] for _ in drivers]
    deadline = time.perf_counter() + job.probe_s
    rounds, reported = 0, -math.inf
    while rounds < _LEAST_QUERIES or time.perf_counter() < deadline:
        first = rounds % (len(order) - count + 1)
        for driver, seen in zip(drivers, latencies_ns, strict=True):
            seen.append(driver.time_ns(order[first : first + count]))
        rounds += 1
        # A message costs as much as a small inference, and wakes the process that shows it.
        if (now := time.perf_counter()) - reported >= _REPORT_S:
            reported = now
            backend.report("completed", rounds * count)
    medians = [statistics.median(seen) for seen in latencies_ns]
    best_ns = min(medians)
    best = drivers[medians.index(best_ns)].compiled
    compared = [
        (driver.compiled.batch, driver.compiled.streams, median)
        for driver, median in zip(drivers, medians, strict=True)
    ]
    return best, Estimate(
        samples_per_second=count * 1e9 / best_ns,
        batch=best.batch,
        streams=best.streams,
        latency_ns=best_ns,
        candidates=tuple(compared),
    )


def _parts(backend: Backend) -> Iterator[RunSettings]:
    """Yield the ways to cut a query: from one inference by all cores down to one sample per stream."""
    settings, count = backend.job.settings, backend.job.samples_per_query
    sizes = [settings.batch] if settings.batch else [count, *(size for size in (4, 2, 1) if size < count)]
    for size in sizes:
        yield settings.choose(size, min(-(-count // size), _threads(settings)))


def _throughput(backend: Backend, order: list[int]) -> tuple[Compiled, Estimate]:
    """Offline: the rate over the fastest window; a server's with as many calls in flight as it gains by."""
    settings, prover = backend.job.settings, Prover(backend)
    if settings.endpoint is not None and settings.streams is None:
        seconds = backend.job.probe_s / _WINDOWS
        backend.report("phase", "probing")
        found = _widened(
            backend, prover, settings.batch or 1, lambda model: _rate(backend, model, order, seconds)
        )
        settings = max(found, key=lambda one: one[2])[1]
    (compiled,) = prover.compile_ladder(settings)
    backend.report("phase", "probing")
    rate = _rate(backend, compiled, order, backend.job.probe_s)
    return compiled, Estimate(rate, compiled.batch, compiled.streams)


def _server(backend: Backend, order: list[int]) -> tuple[Compiled, Estimate]:
    """Server: streams and largest batch by their rate and latency, then the rate that holds the bound."""
    job, bound_ns, prover = backend.job, backend.job.latency_bound_ns, Prover(backend)
    # Without a bound to hold, only the rate counts.
    limit_ns = float("inf") if bound_ns is None else bound_ns * _BOUND_SHARE
    compared: list[tuple[int, int, float]] = []
    # A server may take no single sample.
    least = backend.ladder(job.settings)[0]

    def busy(compiled: Compiled) -> tuple[float, float]:
        """Return the rate with all streams busy, and the latency of one inference then."""
        backend.report("phase", "probing")
        rate = _rate(backend, compiled, order, job.probe_s / _WINDOWS)
        compared.append((compiled.batch, compiled.streams, rate))
        return rate, compiled.batch * compiled.streams / rate * 1e9

    singles = [
        (compiled, settings, rate, compiled.batch * compiled.streams / rate * 1e9)
        for compiled, settings, rate in _widened(backend, prover, least, lambda model: busy(model)[0])
    ]
    prompt = [single for single in singles if single[3] <= limit_ns]
    if prompt:
        single, settings, rate, _ = max(prompt, key=lambda one: one[2])
    else:
        single, settings, rate, _ = min(singles, key=lambda one: one[3])
    ladder = [single]
    if job.settings.batch is not None:
        ladder = list(prover.compile_ladder(settings))
        if len(ladder) > 1:
            rate = max(rate, busy(ladder[-1])[0])
    while job.settings.batch is None and ladder[-1].batch < _MAX_BATCH:
        larger = _compile(backend, prover, replace(settings, batch=None), 2 * ladder[-1].batch)
        if larger is None:
            break
        its_rate, latency_ns = busy(larger)
        if its_rate < _LEAST_GAIN * rate or latency_ns > limit_ns:
            break
        ladder.append(larger)
        rate = its_rate
    alone = _Driver(backend, Scenario.SERVER, [single])
    alone_ns = statistics.median(alone.time_ns([index]) for index in order[:_LEAST_QUERIES])
    alone.sut.close()
    estimate = Estimate(rate, ladder[-1].batch, single.streams, alone_ns, candidates=tuple(compared))
    if not job.search or bound_ns is None or job.latency_percentile is None or alone_ns > bound_ns:
        return single, estimate
    target_qps, trials = find_rate(
        lambda complete: make_sut(
            Scenario.SERVER,
            ladder,
            backend.qsl,
            lambda *_: _Slot(),
            complete,
            backend.inference_failed,
            make_lane=backend.make_lane,
        ),
        order,
        rate,
        bound_ns,
        job.latency_percentile,
        job.probe_s / 3,
        lambda completed: backend.report("completed", completed),
    )
    return single, replace(estimate, target_qps=target_qps, trials=trials)


def _widened(
    backend: Backend, prover: Prover, batch: int, rate_of: Callable[[Compiled], float]
) -> Iterator[tuple[Compiled, RunSettings, float]]:
    """Yield the model with ever more streams and its rate; calls to a server only while they raise it."""
    best, flat = 0.0, 0
    for settings in _stream_counts(backend.job.settings):
        compiled = prover.compile(settings, batch)
        rate = rate_of(compiled)
        yield compiled, settings, rate
        flat = flat + 1 if rate < _LEAST_GAIN * best else 0
        best = max(best, rate)
        if settings.endpoint is not None and flat == _FLAT:
            return


def _stream_counts(settings: RunSettings) -> list[RunSettings]:
    """Return settings from one stream with all cores to a stream for each."""
    if settings.streams is not None:
        return [settings]
    return [settings.choose(None, streams) for streams in doublings(_threads(settings))]


def _rate(backend: Backend, compiled: Compiled, order: list[int], seconds: float) -> float:
    """Return samples/s over windows of equal size, the fastest: a busy neighbour only ever slows one down."""
    driver = _Driver(backend, Scenario.OFFLINE, [compiled])
    round_size = compiled.batch * compiled.streams
    first_ns = driver.time_ns(_cycle(order, round_size))
    rounds = max(2, round(seconds * 1e9 / _WINDOWS / first_ns))
    window = _cycle(order, round_size * rounds)
    best = 0.0
    # Many calls to a slow server would take many times the time that there is.
    most = _WINDOWS if backend.job.settings.endpoint is None else round(_LONGEST * seconds * 1e9 / first_ns)
    for _ in range(max(2, min(_WINDOWS, most // rounds))):
        best = max(best, len(window) / driver.time_ns(window) * 1e9)
        backend.report("completed", driver.sut.completed)
    driver.sut.close()
    return best


def _compile(
    backend: Backend, prover: Prover, settings: RunSettings, batch: int | None = None
) -> Compiled | None:
    """Compile a candidate; None when the model does not admit a batch that nobody asked for."""
    size = batch or settings.batch or 1
    try:
        return prover.compile(settings, size)
    except AnsweredWrongly:
        raise
    except ModelError:
        if size == 1 or backend.job.settings.batch is not None:
            raise
        return None


def _threads(settings: RunSettings) -> int:
    """Return how many streams are worth a try: one for each thread, or calls that a server may have to do."""
    if settings.endpoint is not None:
        return MOST_CALLS
    return settings.threads or system.usable_cpus()


def _cycle(order: list[int], count: int) -> list[int]:
    return [order[place % len(order)] for place in range(count)]


_PROBES = {
    Scenario.SINGLE_STREAM: _latency,
    Scenario.MULTI_STREAM: _latency,
    Scenario.SERVER: _server,
    Scenario.OFFLINE: _throughput,
}
