"""Made-up comparisons, for tests of what is made of the measurements."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.comparison.document import (
    Accuracy,
    AccuracyPair,
    Cell,
    Comparison,
    Data,
    Settings,
    Variant,
)
from harness.dataset.store import Store
from harness.loadgen.settings import RunSettings
from harness.machine.noise import Noise
from harness.machine.system import Machine
from harness.measurement.demands import Demands
from harness.measurement.plan import Plan
from harness.measurement.round import Round
from harness.measurement.series import Facts, Series
from harness.mlperf.scenario import Scenario
from harness.model.card import Card

MACHINE = Machine(
    architecture="x86_64",
    cpu_model="Imaginary CPU 9000",
    cpu_signature=None,
    cpu_vendor="Imaginary",
    sockets=1,
    physical_cores=2,
    cpus_present=4,
    isa=("avx2", "avx512_vnni"),
    max_frequency_hz=3_000_000_000,
    governor="performance",
    memory_bytes=16_000_000_000,
    operating_system="Imaginary OS",
    kernel="6.1",
    hypervisor=True,
    virtualization=None,
    versions={"python": "3.11.7", "openvino": "2026.4.1"},
    cpus_allowed=4,
    cores_allowed=None,
    performance_cpus_allowed=None,
    cpu_quota_cores=None,
    performance_cpus=None,
    efficiency_cpus=None,
    smt=None,
    caches=None,
    frequency_driver=None,
    turbo=None,
    numa_nodes=None,
)
QUIET = Noise(
    wall_s=1.0,
    cpus=4,
    steal_share=0.0,
    other_cpus=0.0,
    throttled_count=0,
    throttled_s=0.0,
    swapped_pages=0,
    frequency_hz=None,
)
PROPERTIES = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": True,
    "ENABLE_HYPER_THREADING": False,
    "SCHEDULING_CORE_TYPE": "ANY_CORE",
}
"""What OpenVINO says that it set."""
LATENCIES_MS = {"fp32": (80.0, 82.0, 81.0), "int8": (20.0, 20.4, 20.2), "searched": (5.0, 5.2, 5.1)}
RATES = {"fp32": (13.0, 12.8, 12.9), "int8": (50.0, 51.0, 49.0), "searched": (200.0, 198.0, 205.0)}


def prepared(
    properties: dict[str, Any], card: Card, store: Store, settings: RunSettings, folder: Path
) -> Series:
    """Make the folder of a series, as rounds.prepare does, and return the series, probed by nobody."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings.with_defaults()
    told = {settings.scenario.facts.estimate_key: 100.0}
    facts = Facts("", "f32", {}, properties, settings.tunable, settings.batch, settings.streams, {}, told)
    demands = Demands.of(card.benchmark, settings)
    return Series(Plan(card, store, demands, folder / "user.conf", told, 100.0), folder, facts)


def variant(name: str, good: int | None = 760, passed: bool | None = True, **more: Any) -> Variant:
    """Return a variant whose accuracy is `good` of 1,000; with None it has none."""
    accuracy = None
    if good is not None:
        word = "passed" if passed else "failed"
        verdict = f"{word}: {good / 10:.3f} % against the target 75 %"
        log = f"accuracy/{name}/model/Offline/accuracy"
        accuracy = Accuracy(1000, passed, 0.75, verdict, True, log, good)
    given = {"no_accuracy": "" if accuracy else "speed only: no trained weights"} | more
    return Variant(
        name, f"card-{name}", "f32", "s" + name, "o" + name, "f32", {"f32": 54}, "", accuracy, **given
    )


def entry(number: int, latency_ms: float, rate: float | None, log: str, valid: bool = True) -> Round:
    """Return a round whose latencies are spread about `latency_ms`, the 90th percentile."""
    shares = {"min": 0.8, "50.00": 0.9, "90.00": 1, "99.00": 1.2, "99.90": 1.4, "max": 2.0, "mean": 0.92}
    latencies = {name: round(share * latency_ms * 1e6) for name, share in shares.items()}
    reasons = () if valid else ("Too short.",)
    return Round(number, "2026-11-21T09:00:00+00:00", log, valid, reasons, latencies, rate, QUIET)


def cell(
    scenario: Scenario, threads: int, name: str, values: Sequence[float], invalid: Sequence[int] = ()
) -> Cell:
    """Return a cell with these figures, a round each."""
    folder = f"rounds/{name}/{scenario}/{threads}-threads"
    offline = scenario is Scenario.OFFLINE
    rounds = tuple(
        entry(
            number,
            1000.0 if offline else value,
            value if offline else None,
            f"{folder}/round_{number}",
            number not in invalid,
        )
        for number, value in enumerate(values, start=1)
    )
    return Cell(scenario, threads, name, rounds, f"{folder}/user.conf")


def comparison(**changes: Any) -> Comparison:
    """Return a comparison of fp32, int8 and a searched model on one thread."""
    cells = [cell(Scenario.SINGLE_STREAM, 1, name, values) for name, values in LATENCIES_MS.items()]
    cells += [cell(Scenario.OFFLINE, 1, name, values) for name, values in RATES.items()]
    values: dict[str, Any] = {
        "created": "2026-11-21T09:00:00+00:00",
        "harness": "0.1.0",
        "baseline": "fp32",
        "settings": Settings(3, 10.0, "v6.1", 0.95),
        "data": Data("imagenet", 1000, "ab" * 32, {"x": "cd"}),
        "machine": MACHINE,
        "variants": (variant("fp32", 764), variant("int8", 761), variant("searched", 765)),
        "cells": tuple(cells),
        "accuracy_pairs": (
            AccuracyPair("int8", "fp32", 1000, 9, 5, 2, 0.453125),
            AccuracyPair("searched", "fp32", 1000, 300, 40, 41, 1.0),
        ),
        "remarks": (),
        "not_official_because": ("rounds of 10 s, made to compare",),
    }
    return Comparison(**values | changes)
