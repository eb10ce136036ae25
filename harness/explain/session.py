"""One explanation, start to finish: alternating rounds, the layers, the peak, the remarks."""

import datetime
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import __version__
from harness.backend import graph, kernels
from harness.backend.kernels import Layer
from harness.console import progress
from harness.dataset.store import open_store
from harness.errors import HarnessError
from harness.explain import DEFAULT_ROUNDS, benchmark_app, output, ways
from harness.explain.clocks import Split
from harness.explain.document import Explanation, Way
from harness.loadgen import work
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.machine import noise, system
from harness.measurement import drawn
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import SPEED_ONLY, Card
from harness.process import child
from harness.profiling.peak import KINDS, Peak

SCENARIOS = (Scenario.SINGLE_STREAM, Scenario.OFFLINE)

_BUILTIN_COUNT = 48
_APP = "benchmark_app"


@dataclass(frozen=True)
class Request:
    """What to explain."""

    card: Card
    settings: RunSettings
    data: Path | None = None
    """None: drawn images."""
    rounds: int = DEFAULT_ROUNDS
    out: Path | None = None
    """Takes explain.json and explain.html; None: nowhere."""


def explain(request: Request) -> Explanation:
    """Measure where the time goes.

    Raises:
        RunFailed: a measurement crashed, hung, or an inference failed.
        HarnessError: the request does not fit the model, the store or the machine.
    """
    card, machine = request.card, system.describe()
    settings = settled(request, machine)
    scenario = settings.scenario
    with tempfile.TemporaryDirectory(prefix="harness-explain-") as name:
        folder = Path(name)
        job = Job(card, images_for(request, folder), settings, folder, None, folder / "user.conf")
        rounds, noises = _rounds(replace(job, mode=Mode.PERFORMANCE), request.rounds)
        kinds = tuple(kind for kind in KINDS if kind != "bf16" or settings.precision == "bf16")
        with progress(f"Profiling {card.name}", None, counts=False):
            seen = work.run(job, work=partial(ways.profile, seconds=settings.duration_s, kinds=kinds))
    taken = tuple(_way(way, rounds) for way in (ways.BARE, ways.POOL, _APP, ways.LOADGEN))
    facts = rounds[0]
    found = Explanation(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        harness=__version__,
        model=told_of(card),
        scenario=str(scenario),
        settings={
            **{name: facts[name] for name in ("threads", "streams", "batch")},
            "precision": settings.precision,
            "rounds": request.rounds,
            "seconds": settings.duration_s,
        },
        computed=facts["precision"],
        machine=json.loads(json.dumps(machine.to_dict())),
        ways=taken,
        splits=tuple(Split(**entry["split"]) for entry in rounds),
        copy_ns=statistics.median(entry["copy_ns"] for entry in rounds),
        layers=tuple(Layer(**layer) for layer in seen["layers"]),
        profiled_inferences=seen["profiled_inferences"],
        macs_per_sample=seen["macs_per_sample"],
        peaks=tuple(Peak(**peak) for peak in seen["peaks"]),
        remarks=(),
    )
    watched = noise.remarks({card.name: noises}, {card.name: facts["threads"]})
    spread = noise.spread_remark({way.name: way.figures_ns for way in taken if way.figures_ns})
    said = _remarks(found, machine, _cure(card))
    remarks = (*said, *watched, *([spread] if spread else []))
    return replace(found, remarks=remarks)


def settled(request: Request, machine: system.Machine) -> RunSettings:
    """Hold a request against what can be explained, and return its settings with nothing left open.

    Raises:
        HarnessError: it does not fit the model, the store, the machine or the folder for its files.
    """
    scenario = request.settings.scenario
    if scenario not in SCENARIOS:
        raise HarnessError(f"Scenario '{scenario}' cannot be explained: use {' or '.join(SCENARIOS)}.")
    if request.rounds < 2:
        raise HarnessError(
            f"--rounds {request.rounds} shows no spread: give at least 2, better {DEFAULT_ROUNDS} or more."
        )
    settings = _settled(request.settings, machine)
    model_file.sha256(request.card)
    if request.out is not None:
        output.require_new(request.out)
    if request.data is not None:
        open_store(request.data).samples(request.card.input.recipe)
    return settings


def told_of(card: Card) -> dict[str, str]:
    """Return what an explanation says of its model."""
    return {
        "name": card.name,
        "sha256": model_file.sha256(card),
        "note": SPEED_ONLY if card.speed_only else "",
    }


def _settled(settings: RunSettings, machine: system.Machine) -> RunSettings:
    usable = machine.usable_cpus
    threads = usable if settings.threads is None else settings.threads
    if threads > usable:
        raise HarnessError(f"--threads {threads}: this process may use {usable} CPU(s), give 1 to {usable}.")
    # A bare loop, or a kind of peak, says nothing until it is over, and takes up to 1.6 durations.
    patience_s = max(settings.stall_timeout_s, 3 * settings.duration_s)
    return replace(settings, threads=threads, stall_timeout_s=patience_s).with_defaults()


def images_for(request: Request, folder: Path) -> Path:
    """Return the request's store, or one of drawn images that is made in the folder.

    Raises:
        HarnessError: the model is none for drawn images.
    """
    if request.data is not None:
        return request.data
    return drawn.store_for([request.card], folder, _BUILTIN_COUNT).path


def _rounds(job: Job, count: int) -> tuple[list[dict[str, Any]], list[noise.Noise]]:
    """Measure every way in turn, and each time another one first."""
    program = benchmark_app.find()
    saved = work.run(in_folder(job, "deployed"), work=ways.save)["path"] if program else Path()
    rounds, noises = [], []
    with progress(f"Explaining {job.card.name}", count) as bar:
        for number in range(count):
            watch = noise.Watch()
            way = partial(ways.measure, order=_turned(number), seconds=job.settings.duration_s)
            entry = work.run(in_folder(job, f"round{number}"), partial(sampled, watch), way)
            if program is not None:
                entry[_APP] = _benchmark_app(job, program, saved, entry)
            rounds.append(entry)
            noises.append(watch.stop())
            bar.advance()
    return rounds, noises


def sampled(watch: noise.Watch, now: child.Progress) -> None:
    """Let a watch look at the machine, whenever a child tells of its progress."""
    watch.sample()


def _turned(number: int) -> tuple[str, ...]:
    shift = number % len(ways.WAYS)
    return ways.WAYS[shift:] + ways.WAYS[:shift]


def in_folder(job: Job, name: str) -> Job:
    """Return the job with a log folder of its own, which is made in that of the job."""
    folder = job.log_folder / name
    folder.mkdir()
    return replace(job, log_folder=folder)


def _benchmark_app(job: Job, program: str, deployed: Path, entry: dict[str, Any]) -> float:
    threads, streams = entry["threads"], entry["streams"]
    latency = job.settings.scenario is Scenario.SINGLE_STREAM
    arguments = (
        benchmark_app.latency_arguments(threads)
        if latency
        else benchmark_app.throughput_arguments(threads, streams)
    )
    measured = benchmark_app.run(
        program, deployed, job.settings.precision, job.settings.duration_s, arguments
    )
    return measured.median_ns if latency else streams / measured.samples_per_second * 1e9


def _way(name: str, rounds: list[dict[str, Any]]) -> Way:
    if name not in rounds[0]:
        return Way(name, (), f"{name} is not installed: it comes with `pip install openvino`.")
    return Way(name, tuple(entry[name] for entry in rounds))


def _cure(card: Card) -> str | None:
    """Return what to do about the layers of a quantized model that do not compute in 8 bits.

    None when the graph, whatever the card says, holds no quantizers.
    """
    model = model_file.read(card)
    if not graph.quantizers(model):
        return None
    if graph.has_shifted_weights(model):
        return "quantize it anew with `harness quantize`"
    if card.quantized_here or model.has_rt_info(["nncf", "quantization"]):
        return "NNCF has left them in floating point"
    return "make the INT8 model from its floating-point original with `harness quantize`"


def _remarks(found: Explanation, machine: system.Machine, cure: str | None) -> Iterator[str]:
    """Yield what stands out in the layers, in words; `cure` as `_cure` has it."""
    layers = found.layers
    whole_us = kernels.total_us(layers)
    share = kernels.int8_share(layers)
    counts = kernels.precisions(layers)
    if (share or cure) and (wide := kernels.left_wide(layers)):
        taken = 100 * (1 - (share or 0.0))
        yield (
            f"{len(wide)} of {sum(counts.values())} convolutions and matrix products do not compute in 8 "
            f"bits and take {taken:.1f} % of their time, {wide[0].name} ({wide[0].exec_type}) "
            f"the most: {cure or 'quantize it with `harness quantize`'}."
        )
    if slow := kernels.fallbacks(layers):
        names = ", ".join(f"{layer.name} ({layer.exec_type})" for layer in slow[:3])
        more = f" and {len(slow) - 3} more" if len(slow) > 3 else ""
        yield (
            f"{len(slow)} layer(s) run in reference or plain gemm kernels, "
            f"{100 * kernels.total_us(slow) / whole_us if whole_us else 0:.1f} % of the layers' time: "
            f"{names}{more}."
        )
    yield from _missing(found, machine, int8=cure is not None or found.computed == "int8")


def _missing(found: Explanation, machine: system.Machine, *, int8: bool) -> Iterator[str]:
    """Yield what the CPU lacks for this model."""
    isa = machine.isa
    if isa is None:
        return
    if int8 and not any(flag in isa for flag in system.INT8_DOT):
        yield (
            "This CPU has no 8-bit dot products (VNNI or AMX), so INT8 gains little over FP32: "
            "use one that has them for the full effect."
        )
    if machine.architecture in ("x86_64", "AMD64") and "avx512f" not in isa:
        yield "This CPU has no AVX-512: vectors are half as wide as on one that has it."
    if found.computed in ("int8", "bf16") and machine.architecture in ("x86_64", "AMD64"):
        unit = "amx_int8" if found.computed == "int8" else "amx_bf16"
        if unit not in isa:
            yield f"This CPU has no AMX ({unit}), the matrix unit of newer Xeons, for {found.computed}."
