"""OpenVINO without LoadGen: plain loops over a compiled model, to hold everything else against."""

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from harness.backend.graph import Compiled, last_line
from harness.errors import RunFailed

_LEAST = 5
_WARM_UPS = 3


@dataclass(frozen=True)
class Timed:
    """What a loop measured."""

    median_ns: float
    """Of one inference: `infer()` alone in a bare loop, from start to end of waiting in the pool."""
    samples_per_second: float
    """Over the whole loop, all streams together."""


def bare(compiled: Compiled, tensors: Sequence[Any], seconds: float, streams: int = 1) -> Timed:
    """Call `infer()` in a loop, in one thread per stream, each with a request of its own.

    Args:
        compiled: the model.
        tensors: its inputs, openvino.Tensor of a batch, used in turn.
        seconds: how long; every thread makes at least 5 inferences.
        streams: threads.

    Raises:
        RunFailed: an inference failed.
    """
    requests = [_warm_request(compiled, tensors) for _ in range(streams)]
    times_ns: list[list[int]] = [[] for _ in requests]
    faults: list[Exception] = []
    start_ns = time.perf_counter_ns()
    end_ns = start_ns + round(seconds * 1e9)

    def work(request: Any, seen: list[int], first: int) -> None:
        try:
            number = first
            while time.perf_counter_ns() < end_ns or len(seen) < _LEAST:
                request.set_input_tensor(tensors[number % len(tensors)])
                begin_ns = time.perf_counter_ns()
                request.infer()
                seen.append(time.perf_counter_ns() - begin_ns)
                number += streams
        except RuntimeError as error:
            faults.append(error)

    if streams == 1:
        work(requests[0], times_ns[0], 0)
    else:
        threads = [
            threading.Thread(target=work, args=(request, seen, number))
            for number, (request, seen) in enumerate(zip(requests, times_ns, strict=True))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        raise RunFailed(f"Inference failed in a bare loop: {last_line(faults[0])}")
    wall_ns = time.perf_counter_ns() - start_ns
    every = [time_ns for seen in times_ns for time_ns in seen]
    return Timed(statistics.median(every), len(every) * compiled.batch / wall_ns * 1e9)


def pool(compiled: Compiled, tensors: Sequence[Any], seconds: float, streams: int) -> Timed:
    """Let OpenVINO's AsyncInferQueue compute, one job per stream.

    With one stream each inference is waited for, so that the median is a latency; with several only the
    throughput means something.
    """
    queue = ov.AsyncInferQueue(compiled.model, streams)
    for number in range(_WARM_UPS * streams):
        queue.start_async({0: tensors[number % len(tensors)]}, share_inputs=True)
    queue.wait_all()
    times_ns: list[int] = []
    start_ns = time.perf_counter_ns()
    end_ns = start_ns + round(seconds * 1e9)
    count = 0
    while (begin_ns := time.perf_counter_ns()) < end_ns or count < _LEAST:
        queue.start_async({0: tensors[count % len(tensors)]}, share_inputs=True)
        count += 1
        if streams == 1:
            queue.wait_all()
            times_ns.append(time.perf_counter_ns() - begin_ns)
    queue.wait_all()
    wall_ns = time.perf_counter_ns() - start_ns
    median_ns = statistics.median(times_ns) if times_ns else wall_ns * streams / count
    return Timed(median_ns, count * compiled.batch / wall_ns * 1e9)


def copy_ns(compiled: Compiled, samples: np.ndarray[Any, Any], count: int = 200) -> float:
    """Return the median time to copy a batch, u8 of the input's shape, into a request's own input."""
    target = compiled.model.create_infer_request().get_input_tensor().data
    times_ns = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        np.copyto(target, samples)
        times_ns.append(time.perf_counter_ns() - start_ns)
    return statistics.median(times_ns)


def empty_model(shape: Sequence[int]) -> ov.Model:
    """Return a model with the ports of a deployed one, u8 [batch, ...] in and f32 [batch] out, and no work.

    It answers with the first byte of each sample.
    """
    pixels = ops.parameter(list(shape), np.uint8, name="pixels")
    batch = int(shape[0])
    flat = ops.reshape(pixels, np.array([batch, -1]), False)
    first = ops.slice(flat, np.array([0]), np.array([1]), np.array([1]), np.array([1]))
    answer = ops.convert(ops.reshape(first, np.array([batch]), False), np.float32)
    return ov.Model([ops.result(answer)], [pixels], "empty")


def _warm_request(compiled: Compiled, tensors: Sequence[Any]) -> Any:
    request = compiled.model.create_infer_request()
    for _ in range(_WARM_UPS):
        request.set_input_tensor(tensors[0])
        request.infer()
    return request
