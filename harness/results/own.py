"""Rows of the tests that `harness run` and `harness compare` made."""

import os
from collections.abc import Iterator
from pathlib import Path

from harness.backend.settings import SERVED
from harness.comparison import document
from harness.comparison.document import Comparison
from harness.endpoint.meeting import ServedBy
from harness.machine.system import Machine
from harness.measurement.round import Round
from harness.mlperf.scenario import Mode
from harness.results.columns import Row, rate
from harness.run.document import Latencies, RunResult
from harness.run.folder import ACCURACY_LOGS, PERFORMANCE_LOGS

SOURCES = ("run", "compare")
"""What wrote the tests."""


def of_run(folder: Path, found: RunResult) -> Iterator[Row]:
    """Yield a row for each finished test of a folder with a run's result."""
    common = {
        "source": "run",
        "benchmark": found.benchmark,
        "model": found.model.name,
        **_server(found.probe.server),
        "scenario": str(found.scenario),
        "date": found.created,
        **_machine(found.machine, found.precision.threads, found.precision.computed),
        "harness_version": found.harness,
    }
    if (performance := found.performance) is not None:
        latencies = performance.latency_ns
        yield {
            **common,
            "mode": str(Mode.PERFORMANCE),
            "valid": performance.valid,
            "official": found.official,
            **({} if latencies is None else _percentiles(latencies)),
            **rate(performance.samples_per_second, common["cores"]),
            "joules_per_sample": _joules(found),
            "path": str(folder / PERFORMANCE_LOGS),
        }
    if (accuracy := found.accuracy) is not None:
        yield {
            **common,
            "mode": str(Mode.ACCURACY),
            "valid": not accuracy.errors,
            "official": found.official,
            "accuracy": accuracy.accuracy,
            "target": accuracy.verdicts[0].target if accuracy.verdicts else None,
            "passed": accuracy.passed,
            "path": str(folder / ACCURACY_LOGS),
        }


def _joules(found: RunResult) -> float | None:
    """Return the energy of a sample, unless another machine spent most of it."""
    energy = found.performance and found.performance.energy
    return energy.joules_per_sample if energy and found.is_of_this_host else None


def _server(server: ServedBy | None) -> Row:
    return {} if server is None else {"endpoint": server.endpoint, "on_this_host": server.is_on_this_host}


def _percentiles(latencies: Latencies) -> Row:
    return {f"{name}_ms": getattr(latencies, name) / 1e6 for name in ("p50", "p90", "p99")}


def of_comparison(folder: Path) -> Iterator[Row]:
    """Yield a row for each round, and each accuracy test, of a folder with a compare.json.

    Raises:
        HarnessError: the document cannot be read.
    """
    for compared in document.read(folder / document.FILE_NAME):
        root = folder
        if compared.source:
            # It may begin with '..', and the folder be a link.
            root = Path(os.path.normpath(Path(os.path.realpath(folder), compared.source)))
        yield from of_compared(compared, root)


def of_compared(compared: Comparison, root: Path) -> Iterator[Row]:
    """Yield the rows of one machine's comparison, whose tests are below `root`."""
    yield from _rounds(compared, root)
    yield from _accuracies(compared, root)


def _rounds(compared: Comparison, root: Path) -> Iterator[Row]:
    for cell in compared.cells:
        variant = compared.variant(cell.variant)
        common = {
            **_common(compared, cell.threads, variant.computed),
            "model": variant.name,
            "scenario": str(cell.scenario),
            "mode": str(Mode.PERFORMANCE),
        }
        for entry in cell.rounds:
            yield {**common, **_figures(entry, common["cores"]), "path": str(root / entry.log)}


def _figures(entry: Round, cores: int | None) -> Row:
    latencies_ns = entry.latencies_ns if entry.samples_per_second is None else {}
    percentiles = {"p50_ms": "50.00", "p90_ms": "90.00", "p99_ms": "99.00"}
    return {
        "round": entry.number,
        "date": entry.started,
        "valid": entry.valid,
        "official": False,
        **{name: latencies_ns[key] / 1e6 for name, key in percentiles.items() if key in latencies_ns},
        **rate(entry.samples_per_second, cores),
    }


def _accuracies(compared: Comparison, root: Path) -> Iterator[Row]:
    for variant in compared.variants:
        if (accuracy := variant.accuracy) is not None:
            yield {
                **_common(compared, None, variant.computed),
                "model": variant.name,
                "mode": str(Mode.ACCURACY),
                "date": compared.created,
                "valid": accuracy.valid,
                "official": False,
                "accuracy": accuracy.fraction,
                "target": accuracy.target,
                "passed": accuracy.passed,
                "path": str(root / accuracy.log),
            }


def _common(compared: Comparison, threads: int | None, computed: str | None) -> Row:
    return {
        "source": "compare",
        **_machine(compared.machine, threads, computed),
        "harness_version": compared.harness,
    }


def _machine(machine: Machine, threads: int | None, computed: str | None) -> Row:
    """Return what computed, as far as it is known: a server has cores and threads of its own."""
    versions, is_served = machine.versions, computed == SERVED
    return {
        "precision": computed,
        "system": machine.cpu_model,
        "cpu": machine.cpu_model,
        "cpus": machine.cpus_present,
        "cores": None if is_served else machine.cores_of(threads),
        "threads": None if is_served else threads,
        "openvino_version": None if is_served else versions.get("openvino"),
        "nncf_version": None if is_served else versions.get("nncf"),
        "loadgen_version": versions.get("mlcommons_loadgen"),
    }
