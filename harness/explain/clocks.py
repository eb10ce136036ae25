"""Clocks around a system under test: what LoadGen asks, what OpenVINO computes, what is answered."""

import statistics
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from harness.backend.graph import Compiled
from harness.loadgen.sut import Complete, Issue, Tap


@dataclass(frozen=True)
class Service:
    """One inference of a system under test; times in ns of time.perf_counter_ns."""

    start_ns: int
    """LoadGen's query arrived, or the thread had answered its last batch."""
    set_ns: int
    """The samples were handed to OpenVINO."""
    inferred_ns: int
    """`infer()` returned."""
    done_ns: int
    """The answers went to LoadGen."""
    answered_ns: int
    """LoadGen gave the thread back."""
    samples: int


@dataclass(frozen=True)
class Split:
    """A time in four parts, in ns, which add up to it."""

    copying_ns: float
    """Handing the samples over: from the query, or the last answer, until the input is set."""
    dispatch_ns: float
    """Calling: what `infer()` takes on a model that computes nothing, and making the answers."""
    queueing_ns: float
    """Waiting: what LoadGen saw that no inference was served in."""
    compute_ns: float
    """The rest of `infer()`: the model; about 0, and maybe below, where it costs no more than the noise."""

    @property
    def whole_ns(self) -> float:
        return self.copying_ns + self.dispatch_ns + self.queueing_ns + self.compute_ns


class Clocks(Tap):
    """Wraps what LoadGen calls, what OpenVINO is asked and what answers LoadGen; notes every inference."""

    def __init__(self) -> None:
        self.services: list[Service] = []
        self._own = threading.local()

    def issue(self, issue: Issue) -> Issue:
        """Return `issue`, which starts the clock of its thread first."""

        def started(ids: list[int], indices: list[int]) -> None:
            self._own.start_ns = time.perf_counter_ns()
            issue(ids, indices)

        return started

    def complete(self, complete: Complete) -> Complete:
        """Return `complete`, which notes the inference that it answers."""
        own = self._own

        def answered(slots: list[Any]) -> None:
            done_ns = time.perf_counter_ns()
            complete(slots)
            now_ns = time.perf_counter_ns()
            start_ns = getattr(own, "start_ns", own.set_start_ns)
            self.services.append(Service(start_ns, own.set_ns, own.inferred_ns, done_ns, now_ns, len(slots)))
            own.start_ns = now_ns

        return answered

    def model(self, compiled: Compiled) -> Compiled:
        """Return the compiled model with a clock in each of its requests."""
        return replace(compiled, model=_Model(compiled.model, self._own))


class _Model:
    def __init__(self, model: Any, own: threading.local) -> None:
        self._model = model
        self._own = own
        self.output = model.output

    def create_infer_request(self) -> "_Request":
        return _Request(self._model.create_infer_request(), self._own)


class _Request:
    """An infer request of a thread that computes by `infer`."""

    def __init__(self, request: Any, own: threading.local) -> None:
        self._request = request
        self._own = own
        self.set_output_tensor = request.set_output_tensor

    def get_output_tensor(self, *place: int) -> Any:
        return self._request.get_output_tensor(*place)

    def set_input_tensor(self, tensor: Any) -> None:
        self._own.set_start_ns = time.perf_counter_ns()
        self._request.set_input_tensor(tensor)
        self._own.set_ns = time.perf_counter_ns()

    def infer(self, **options: Any) -> None:
        self._request.infer(**options)
        self._own.inferred_ns = time.perf_counter_ns()


def split_latency(services: list[Service], latency_ns: float, empty_ns: float) -> Split:
    """Split the median latency of queries that are served one at a time; of each part the median counts.

    Args:
        services: at least one.
        latency_ns: LoadGen's median.
        empty_ns: median of `infer()` on a model that computes nothing.
    """
    copying = statistics.median(one.set_ns - one.start_ns for one in services)
    inferring = statistics.median(one.inferred_ns - one.set_ns for one in services)
    answering = statistics.median(one.done_ns - one.inferred_ns for one in services)
    return Split(
        copying_ns=copying,
        dispatch_ns=empty_ns + answering,
        queueing_ns=latency_ns - copying - inferring - answering,
        compute_ns=inferring - empty_ns,
    )


def split_throughput(services: list[Service], duration_ns: float, streams: int, empty_ns: float) -> Split:
    """Split the time that a stream spends on a sample, on average over a test of many samples.

    The whole is the duration times the streams over the samples; queueing is what streams were idle.

    Args:
        services: of all streams, at least one.
        duration_ns: from LoadGen's query to its last answer.
        streams: threads that served it.
        empty_ns: median of `infer()` on a model that computes nothing.
    """
    samples = sum(one.samples for one in services)
    copying = sum(one.set_ns - one.start_ns for one in services) / samples
    inferring = sum(one.inferred_ns - one.set_ns for one in services) / samples
    # LoadGen takes the time of the last answer on receipt: what comes after is no part of the duration.
    last = max(services, key=lambda one: one.done_ns)
    answering_ns = sum(one.answered_ns - one.inferred_ns for one in services)
    answering = (answering_ns - (last.answered_ns - last.done_ns)) / samples
    calling = empty_ns * len(services) / samples
    return Split(
        copying_ns=copying,
        dispatch_ns=calling + answering,
        queueing_ns=duration_ns * streams / samples - copying - inferring - answering,
        compute_ns=inferring - calling,
    )
