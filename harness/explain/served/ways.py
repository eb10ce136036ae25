"""One round of an endpoint, in a process of its own: LoadGen with clocks, an echo, statistics."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from harness.backend.served import ServedModel
from harness.endpoint.meeting import connect
from harness.endpoint.wire import ServerFault, Statistics, Wire
from harness.explain import ways
from harness.explain.clocks import Clocks
from harness.explain.served.document import CallSplit
from harness.loadgen.proof import Prover
from harness.loadgen.subject import Backend
from harness.loadgen.sut import Issue
from harness.process.undisturbed import undisturbed

_ECHO_SHARE = 0.25
"""Of a measurement's time, for the echo."""
_LEAST = 20


class CallClocks(Clocks):
    """Clocks that know how long the calls behind LoadGen's queries took, too."""

    def __init__(self) -> None:
        super().__init__()
        self._calls_ns: list[int] = []
        self._before: int | None = None
        self.called: Callable[[int], None] = self._calls_ns.append

    def issue(self, issue: Issue) -> Issue:
        started = super().issue(issue)

        def first(ids: list[int], indices: list[int]) -> None:
            if self._before is None:
                self._before = len(self._calls_ns)
            started(ids, indices)

        return first

    @property
    def calls_ns(self) -> list[int]:
        """What each call took that answered a query, and not what was asked before or after the test."""
        return self._calls_ns[self._before :][: len(self.services)]


def measure(backend: Backend, *, seconds: float) -> dict[str, Any]:
    """Let LoadGen ask a served model; return its `CallSplit`, and how far the parts can be trusted.

    Args:
        backend: of an endpoint; the job's log folder takes LoadGen's logs.
        seconds: about how long the test is.

    Raises:
        RunFailed: a call failed, or LoadGen logged an error.
        HarnessError: the server's model does not fit the card.
    """
    from harness.loadgen import drive

    (compiled,) = Prover(backend).compile_ladder(backend.job.settings)
    model = compiled.model
    assert isinstance(model, ServedModel)
    clocks = CallClocks()
    model.on_call = clocks.called
    wire = connect(model.met.endpoint)
    try:
        before = wire.statistics()
        drive.perform(backend, [clocks.model(compiled)], clocks)
        counted = _between(before, wire.statistics())
        backend.report("phase", "measuring")
        found = ways.read(backend, clocks, compiled.streams, 0.0)
        echo_ns, is_whole = _echo_ns(wire, model, _pixels(backend, compiled.batch), seconds * _ECHO_SHARE)
    finally:
        wire.close()
    calls_ns = clocks.calls_ns
    a_call = statistics.median if ways.is_latency(backend) else statistics.fmean
    each = 1.0 if counted is None else counted.calls * compiled.batch
    split = CallSplit(
        whole_ns=found[ways.LOADGEN],
        call_ns=a_call(calls_ns) / compiled.batch,
        echo_ns=echo_ns / compiled.batch,
        queue_ns=None if counted is None else counted.queue_ns / each,
        compute_ns=None
        if counted is None
        else (counted.input_ns + counted.compute_ns + counted.output_ns) / each,
    )
    return {
        "split": asdict(split),
        "server": model.served_by,
        "concurrency": compiled.streams,
        "batch": compiled.batch,
        "calls": len(calls_ns),
        "counted": None if counted is None else counted.calls,
        "echo_is_whole": is_whole,
    }


def _between(before: Statistics | None, after: Statistics | None) -> Statistics | None:
    """Return what was counted; None where nothing was, or the server began anew."""
    if before is None or after is None:
        return None
    counted = after.since(before)
    return counted if counted.calls > 0 and min(asdict(counted).values()) >= 0 else None


def _pixels(backend: Backend, batch: int) -> memoryview:
    backend.qsl.load([place % backend.qsl.count for place in range(batch)])
    return backend.qsl.block[:batch].reshape(-1).data


def _echo_ns(wire: Wire, model: ServedModel, pixels: memoryview, seconds: float) -> tuple[float, bool]:
    """Return the median time of an echo, and whether it carried the pixels: some servers take none there."""
    agreement = model.agreement
    echo = wire.echo(agreement.input, model.pixels, agreement.output.name)
    try:
        echo(pixels)
    except ServerFault:
        return _median_ns(wire.is_live, seconds), False
    return _median_ns(lambda: echo(pixels), seconds), True


def _median_ns(call: Callable[[], object], seconds: float) -> float:
    times_ns: list[int] = []
    end_ns = time.perf_counter_ns() + round(seconds * 1e9)
    with undisturbed():
        while (start_ns := time.perf_counter_ns()) < end_ns or len(times_ns) < _LEAST:
            call()
            times_ns.append(time.perf_counter_ns() - start_ns)
    return statistics.median(times_ns)
