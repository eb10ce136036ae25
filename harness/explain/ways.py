"""One round, in a process of its own: one compiled model under a loop, OpenVINO's pool and LoadGen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from harness import files
from harness.backend import graph, kernels
from harness.backend.macs import count_macs
from harness.errors import RunFailed
from harness.explain.clocks import Clocks, split_latency, split_throughput
from harness.loadgen.proof import Prover
from harness.loadgen.subject import Backend
from harness.loadgen.sut import windows
from harness.measurement.advice import EXPECTED_SHARE
from harness.mlperf import conf, log
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.process.undisturbed import undisturbed
from harness.profiling import loops, peak

BARE, POOL, LOADGEN = "bare", "pool", "loadgen"
WAYS = (BARE, POOL, LOADGEN)

_RESIDENT = 1024
_FIRST_LOOK_S = 0.3
_EMPTY_S = 0.3
_LEAST_PROFILED = 50
_PEAK_SHARE = 0.1
"""Of a measurement's time, for each of the many attempts at the peak."""


def measure(backend: Backend, *, order: Sequence[str], seconds: float) -> dict[str, Any]:
    """Run the model each way, in the order given; return a figure for each way and how LoadGen's splits.

    The figure is the median latency of a query in ns (SingleStream), or the time of a stream for a sample in
    ns, that is streams over samples/s (Offline).

    Args:
        backend: of a job whose log folder takes LoadGen's logs.
        order: BARE, POOL and LOADGEN.
        seconds: about how long each is measured.

    Raises:
        RunFailed: an inference failed, or LoadGen logged an error.
        HarnessError: the model is unusable.
    """
    from harness.loadgen import drive

    compiled = Prover(backend).compile_ladder(backend.job.settings)[-1]
    streams = 1 if is_latency(backend) else compiled.streams
    backend.report("phase", "measuring")
    tensors = _load(backend, compiled)
    first = _figure(backend, loops.bare(compiled, tensors, _FIRST_LOOK_S, streams), streams)
    _expect(backend, first, streams)
    empty_ns = _empty_ns(backend, compiled)
    found: dict[str, Any] = {"empty_ns": empty_ns}
    clocks = Clocks()
    for way in order:
        backend.report("completed", len(found))
        if way == LOADGEN:
            backend.qsl.unload()
            drive.perform(backend, [clocks.model(compiled)], clocks)
            tensors = _load(backend, compiled)
            found |= read(backend, clocks, streams, empty_ns)
            continue
        loop: Callable[..., loops.Timed] = loops.bare if way == BARE else loops.pool
        with undisturbed():
            found[way] = _figure(backend, loop(compiled, tensors, seconds, streams), streams)
    backend.report("phase", "measuring")
    found["copy_ns"] = loops.copy_ns(compiled, tensors[0].data) / compiled.batch
    return {
        **found,
        **backend.facts(compiled),
        "streams": compiled.streams,
        "threads": compiled.properties["INFERENCE_NUM_THREADS"],
        "batch": compiled.batch,
    }


def profile(backend: Backend, *, seconds: float, kinds: Sequence[str]) -> dict[str, Any]:
    """Return the layers with their times, the model's work, and the machine's peaks in each of the kinds.

    Args:
        backend: of any job.
        seconds: about how long the layers are measured, at one inference at a time.
        kinds: of peaks: int8, bf16, f32.
    """
    job = backend.job
    prover, settings = Prover(backend), job.settings
    compiled = prover.compile_ladder(settings)[-1]
    watched = prover.compile(settings, compiled.batch, profile=True)
    backend.report("phase", "profiling")
    tensors = _load(backend, compiled)
    once = loops.bare(compiled, tensors, _FIRST_LOOK_S)
    count = max(_LEAST_PROFILED, math.ceil(seconds * 1e9 / once.median_ns))
    each_second = max(1, round(1e9 / once.median_ns))

    def done(number: int) -> None:
        if number % each_second == 0:
            backend.report("completed", number)

    layers = kernels.profiled(watched.model, tensors, count, done)
    streams = 1 if is_latency(backend) else compiled.streams
    peaks: list[dict[str, Any]] = []
    for kind in kinds:
        backend.report("completed", len(peaks) + 1)
        peaks.append(asdict(peak.measure(kind, settings.compile_settings, streams, seconds * _PEAK_SHARE)))
    return {
        "layers": [asdict(layer) for layer in layers],
        "profiled_inferences": count,
        "macs_per_sample": count_macs(backend.deployed(compiled.batch)) / compiled.batch,
        "peaks": peaks,
    }


def save(backend: Backend) -> dict[str, Any]:
    """Save the deployed graph as an IR in the job's log folder, for programs that are not ours."""
    batch = backend.job.settings.batch or 1
    path = backend.job.log_folder / "deployed.xml"
    model_file.save(backend.deployed(batch), path)
    return {"path": path}


def _load(backend: Backend, compiled: graph.Compiled) -> list[Any]:
    """Load samples, and return the tensors of their batches."""
    rows = min(backend.qsl.count, _RESIDENT)
    backend.qsl.load([row % rows for row in range(max(rows, compiled.batch))])
    return windows(backend.qsl.block, compiled.batch)


def is_latency(backend: Backend) -> bool:
    """Return whether a query's latency is measured, and not how much time a sample takes."""
    return backend.job.settings.scenario is Scenario.SINGLE_STREAM


def _figure(backend: Backend, timed: loops.Timed, streams: int) -> float:
    return timed.median_ns if is_latency(backend) else streams / timed.samples_per_second * 1e9


def _expect(backend: Backend, figure_ns: float, streams: int) -> None:
    """Tell LoadGen about how fast the system is."""
    job = backend.job
    assert job.user_conf is not None
    if is_latency(backend):
        told = {"target_latency": figure_ns * EXPECTED_SHARE / 1e6}
    else:
        told = {"target_qps": streams / figure_ns * 1e9}
    files.write_text(job.user_conf, conf.render_user_conf(job.card.benchmark, job.settings.scenario, **told))


def _empty_ns(backend: Backend, compiled: graph.Compiled) -> float:
    """Return the median of `infer()` on a model of the same ports that computes nothing."""
    shape = (compiled.batch, *backend.qsl.sample_shape)
    empty = graph.compile_model(loops.empty_model(shape), backend.job.settings.compile_settings)
    [pixels] = windows(np.zeros(shape, np.uint8), compiled.batch)
    with undisturbed():
        return loops.bare(empty, [pixels], _EMPTY_S).median_ns


def read(backend: Backend, clocks: Clocks, streams: int, empty_ns: float) -> dict[str, Any]:
    """Return LoadGen's figure and its parts, of a test that was performed with clocks.

    Args:
        backend: of the job whose log folder has LoadGen's logs.
        clocks: what they noted.
        streams: that served the test.
        empty_ns: median of `infer()` on a model that computes nothing.

    Raises:
        RunFailed: LoadGen logged an error.
    """
    path = backend.job.log_folder / log.DETAIL_LOG
    measured = log.read_performance(path)
    if measured.errors:
        raise RunFailed(f"LoadGen logged an error: {measured.errors[0]}")
    if is_latency(backend):
        split = split_latency(clocks.services, measured.latency_p50_ns, empty_ns)
    else:
        assert measured.duration_ns is not None
        split = split_throughput(clocks.services, measured.duration_ns, streams, empty_ns)
    return {LOADGEN: split.whole_ns, "split": asdict(split)}
