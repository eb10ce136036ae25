"""Times INT8 networks end to end as they are deployed, beside a reference that tells when to trust it."""

import bisect
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import openvino as ov

from harness.backend import graph
from harness.backend.graph import Compiled, last_line
from harness.console import progress
from harness.errors import HarnessError, RunFailed
from harness.model import file as model_file
from harness.model.architecture import Architecture
from harness.model.card import Card
from harness.process.undisturbed import undisturbed
from harness.profiling.conditions import Conditions
from harness.profiling.int8 import Network, quantized, quantized_ahead

LARGEST_DRIFT = 0.05
"""The reference may be so much slower than in its quiet moments while a sample is taken."""
_MOST_DRIFTS = 4.0
"""Times that where quiet moments are rare: one more for each second that a measurement takes."""
_BURSTS = 8
_KEPT_PERCENTILE = 25
_PATIENCE_S = 120.0
_FIRST_LOOKS = 60
_QUIET_PERCENTILE = 10
_REMEMBERED_S = 60.0

_SEED = 1
_WARM_UPS = 3
_BURST_S = 0.02
_BURST_INFERENCES = 3
_LOOK_S = 0.01
_LOOK_INFERENCES = 1
_GAIN_VISITS = 5
"""Measurements of which the middle one says how much faster INT8 is: the wanted latency hangs on it alone."""


class Stopwatch(ABC):
    """Measures networks in units of a reference network, so that sessions can be compared."""

    @property
    @abstractmethod
    def quiet_ms(self) -> float:
        """What the reference takes in quiet moments, as far as is known by now: milliseconds an image."""

    @abstractmethod
    def ratio(self, network: Network) -> float:
        """Return the time of an image in this network, in INT8, over that in the reference.

        Raises:
            HarnessError: the machine is too busy to measure.
        """

    def ratios(self, architectures: Sequence[Architecture]) -> Iterator[float]:
        """Yield the `ratio` of one after the other, faster than one by one where there are many.

        Raises:
            HarnessError: the machine is too busy to measure.
        """
        yield from map(self.ratio, architectures)


Timer = Callable[[Network, Conditions], AbstractContextManager[Stopwatch]]
"""From a reference network and conditions to what measures; `timer` is one."""


def measure_ms(
    architectures: Sequence[Architecture], conditions: Conditions, reference: Architecture | None = None
) -> list[float]:
    """Return the milliseconds of one image for each network, measured end to end in INT8.

    Args:
        architectures: the networks; they get random weights, on which the time does not depend.
        conditions: under which to measure: in SingleStream the median latency of single images, in Offline
            the time per image with all streams busy.
        reference: what tells how quiet the machine is; default: the network in the middle, by work.

    Raises:
        HarnessError: the machine is too busy to measure.
    """
    reference = reference or sorted(architectures, key=Architecture.count_macs)[len(architectures) // 2]
    ratios = []
    with timer(reference, conditions) as stopwatch, progress("Measuring", len(architectures)) as bar:
        for ratio in stopwatch.ratios(architectures):
            ratios.append(ratio)
            bar.advance()
        return [ratio * stopwatch.quiet_ms for ratio in ratios]


def int8_gain(card: Card, twin: Architecture, conditions: Conditions) -> float:
    """Return how many times as long an image takes in a card's model as in INT8, measured side by side.

    It is measured a few times, and the middle one counts.

    Args:
        card: the model, whose layers that are not quantized run in f32.
        twin: its architecture, which is quantized.
        conditions: see `measure_ms`.

    Raises:
        HarnessError: the machine is too busy to measure.
    """
    plain = graph.deployed(model_file.read(card), card)
    beside = Beside(twin, conditions)
    return statistics.median(beside.ratio_as_is(plain) for _ in range(_GAIN_VISITS))


@contextmanager
def timer(reference: Network, conditions: Conditions) -> Iterator[Stopwatch]:
    """Yield what measures networks in INT8 beside a reference."""
    yield Beside(reference, conditions)


class Beside(Stopwatch):
    """Measures beside a reference, which runs in INT8."""

    def __init__(self, reference: Network, conditions: Conditions, patience_s: float | None = None) -> None:
        """Compile the reference.

        Args:
            reference: what tells how quiet the machine is.
            conditions: under which to measure.
            patience_s: after which the quietest samples count where the machine was not quiet for long
                enough; None: that is an error, after a longer time.

        Raises:
            HarnessError: the conditions are of another CPU.
        """
        if conditions.elsewhere is not None:
            raise HarnessError(
                f"Times of {conditions.elsewhere['cpu']} are wanted, which is not the CPU here: repeat the "
                "command there, where it measures and goes on."
            )
        self._settings = conditions.compile_settings
        watched = _lanes(compiled(reference, conditions))
        look = partial(_burst_ms, watched, _LOOK_S, _LOOK_INFERENCES)
        self._watch = Watch(look) if patience_s is None else Watch(look, patience_s=patience_s, insist=False)

    @property
    def quiet_ms(self) -> float:
        return self._watch.quiet_ms

    @property
    def restless(self) -> int:
        """How many measurements so far were of the quietest samples only, none of them quiet enough."""
        return self._watch.restless

    def ratio(self, network: Network) -> float:
        return self.ratio_as_is(quantized(network))

    def ratios(self, architectures: Sequence[Architecture]) -> Iterator[float]:
        yield from map(self.ratio_as_is, quantized_ahead(architectures))

    def ratio_as_is(self, deployed: ov.Model) -> float:
        """Return the `ratio` of a model with u8 pixels in, which is not quantized any further."""
        return self.visits(deployed)()

    def visits(self, deployed: ov.Model) -> Callable[[], float]:
        """Compile a model with u8 pixels in, as it is; return what measures its `ratio` at each call."""
        lanes = _lanes(graph.compile_model(deployed, self._settings))

        def visit() -> float:
            with undisturbed():
                return self._watch.ratio(lambda: _burst_ms(lanes, _BURST_S, _BURST_INFERENCES))

        return visit


class Watch:
    """Takes samples between two looks at a reference, and keeps those during which it was quiet.

    Its quiet level is the tenth percentile of the looks of the last minute, and of at least 60: their minimum
    would be the luck of one, looks without the other network between them are faster, because their data is
    still in the caches, and a CPU's clock may settle at another frequency.
    """

    restless: int = 0
    """How many ratios so far were of the quietest samples, too few being quiet enough."""

    def __init__(
        self,
        look: Callable[[], float],
        patience_s: float = _PATIENCE_S,
        *,
        insist: bool = True,
    ) -> None:
        """Watch a reference.

        Args:
            look: measures it in milliseconds.
            patience_s: after which to give up on a network.
            insist: whether giving up is an error; else the quietest samples count, and `restless`.
        """
        self._look = look
        self._patience_s = patience_s
        self._insist = insist
        self._seen: deque[tuple[float, float]] = deque()
        """When each look was, on the monotonic clock in seconds, and what it took, in milliseconds."""

    @property
    def quiet_ms(self) -> float:
        """What the reference takes in quiet moments; needs a sample to have been taken."""
        return float(np.percentile([took_ms for _, took_ms in self._seen], _QUIET_PERCENTILE))

    def ratio(self, take: Callable[[], float]) -> float:
        """Return the lower quartile of a few undisturbed samples, each over the reference's time around it.

        A lower clock slows both and cancels out. What disturbs never makes faster, hence the quartile, and
        slows most what has most weights to fetch: the reference should be about as large as what is
        measured. Beside the full ResNet-50 at 32 px, while neighbours were busy, medians of five samples of
        networks a quarter of its size differed by 4 to 6 % from one time to another; beside one of half its
        width, quartiles of eight differ by 1 %.

        A sample is undisturbed while the reference takes at most 5 % more than in its quiet moments, and 5 %
        more with each second that passes, up to 20 %: beside a neighbour who keeps the other half of a core
        busy, one sample in 20 is quiet, and to wait for eight of them takes 9 s.

        Args:
            take: a sample, in milliseconds.

        Raises:
            HarnessError: it is insisted on quiet samples, and the reference was nearly always more than 20 %
                slower than in its quiet moments.
        """
        while len(self._seen) < _FIRST_LOOKS:
            take()
            self._look_again()
        samples: list[tuple[float, float]] = []
        begin = time.monotonic()
        before = self._look_again()
        while True:
            taken = take()
            after = self._look_again()
            # Over the quiet level of that moment, which later looks may shift.
            level = max(before, after) / self.quiet_ms
            bisect.insort(samples, (level, 2 * taken / (before + after)))
            before = after
            passed_s = time.monotonic() - begin
            most = 1 + LARGEST_DRIFT * min(_MOST_DRIFTS, 1 + passed_s)
            if len(samples) >= _BURSTS and samples[_BURSTS - 1][0] <= most:
                break
            if passed_s < self._patience_s:
                continue
            if self._insist:
                raise HarnessError(
                    f"The machine is too busy to measure: in {sum(one > most for one, _ in samples)} of "
                    f"{len(samples)} tries within {self._patience_s:g} s the reference network took more "
                    f"than {most:.2f} times its {self.quiet_ms:.2f} ms of quiet moments; stop other work and "
                    "repeat the command, which goes on."
                )
            if len(samples) >= _BURSTS:
                self.restless += 1
                break
        return float(np.percentile([ratio for _, ratio in samples[:_BURSTS]], _KEPT_PERCENTILE))

    def _look_again(self) -> float:
        took_ms, now = self._look(), time.monotonic()
        self._seen.append((now, took_ms))
        while len(self._seen) > _FIRST_LOOKS and self._seen[0][0] < now - _REMEMBERED_S:
            self._seen.popleft()
        return took_ms


def compiled(network: Network, conditions: Conditions, *, profile: bool = False) -> Compiled:
    """Return the INT8 network compiled for the conditions."""
    return graph.compile_model(quantized(network), conditions.compile_settings, profile=profile)


def noise_image(size: int) -> ov.Tensor:
    """Return u8 [1, size, size, 3] of noise."""
    return ov.Tensor(np.random.default_rng(_SEED).integers(0, 256, (1, size, size, 3), np.uint8))


def _lanes(network: Compiled) -> list[Any]:
    """Return a warm infer request for each stream."""
    size = network.model.input(0).shape[1]
    requests = []
    for _ in range(network.streams):
        request = network.model.create_infer_request()
        request.set_input_tensor(noise_image(size))
        for _ in range(_WARM_UPS):
            request.infer(share_outputs=True)
        requests.append(request)
    return requests


def _burst_ms(lanes: Sequence[Any], least_s: float, least_count: int) -> float:
    """Return milliseconds an image: the median latency of one lane, the common rate's inverse of several.

    Raises:
        RunFailed: an inference failed.
    """
    if len(lanes) == 1:
        return statistics.median(_warm(_infer(lanes[0], least_s, least_count))) * 1e3
    seconds_of: list[list[float]] = [[] for _ in lanes]
    start = threading.Barrier(len(lanes))
    faults: list[RuntimeError] = []

    def serve(number: int) -> None:
        start.wait()
        try:
            seconds_of[number] = _infer(lanes[number], least_s, least_count)
        except RuntimeError as error:
            faults.append(error)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(len(lanes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise RunFailed(f"Inference failed while a network was timed: {last_line(faults[0])}")
    return 1e3 / sum(len(warm) / sum(warm) for warm in map(_warm, seconds_of))


def _warm(seconds: list[float]) -> list[float]:
    """Return the samples but the first third: while they ran, the caches still held the other network."""
    return seconds[len(seconds) // 3 :]


def _infer(request: Any, least_s: float, least_count: int) -> list[float]:
    """Compute until so much time has passed and so many inferences are done; return the seconds of each."""
    seconds: list[float] = []
    end = time.perf_counter() + least_s
    while True:
        before = time.perf_counter()
        if before >= end and len(seconds) >= least_count:
            return seconds
        request.infer(share_outputs=True)
        seconds.append(time.perf_counter() - before)
