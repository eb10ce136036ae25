"""Rows of the tests in a submission tree, ours or one of those that MLCommons publishes."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from harness import files
from harness.errors import HarnessError, RunFailed
from harness.mlperf import log
from harness.mlperf.log import DETAIL_LOG
from harness.mlperf.scenario import Mode, parse_scenario
from harness.results.columns import Row, rate

# submitter/results/system/benchmark/scenario/mode
_TESTS = {
    Mode.PERFORMANCE: f"*/*/*/performance/run_1/{DETAIL_LOG}",
    Mode.ACCURACY: "*/*/*/accuracy/accuracy.txt",
}
# accuracy=76.456%, good=...; mAP=37.230%; ... of MLCommons' accuracy scripts.
_ACCURACY = re.compile(r"\b(?:accuracy|mAP)\s*[=:]\s*([\d.]+)\s*%")


def of_submitter(results: Path) -> Iterator[Row]:
    """Yield a row for each test below a submitter's folder `results`.

    What cannot be read, the system's description included, makes a row with its fault.
    """
    submitter = Path(os.path.abspath(results)).parent
    for mode, pattern in _TESTS.items():
        for path in sorted(results.glob(pattern)):
            system, benchmark, scenario = path.relative_to(results).parts[:3]
            common = {
                "source": "submission",
                "submitter": submitter.name,
                "division": submitter.parent.name,
                "system": system,
                "model": benchmark,
                "scenario": scenario,
                "mode": str(mode),
                "official": True,
                "path": str(path.parent),
            }
            try:
                common |= {"scenario": str(parse_scenario(scenario)), **_system(submitter, system)}
                yield common | (_performance(path, common) if mode is Mode.PERFORMANCE else _accuracy(path))
            except HarnessError as error:
                yield common | {"fault": str(error)}


def _performance(path: Path, common: Row) -> Row:
    detail, measured = log.read_detail(path), log.read_performance(path)
    is_latency = measured.scenario.facts.is_latency
    percentiles = {
        "p50_ms": measured.latency_p50_ns / 1e6,
        "p90_ms": measured.latency_p90_ns / 1e6,
        "p99_ms": measured.latency_p99_ns / 1e6,
    }
    return {
        "valid": measured.valid,
        **(percentiles if is_latency or measured.latency_bound_ns is not None else {}),
        **rate(measured.samples_per_second, common["cores"]),
        "loadgen_version": str(detail.get("loadgen_version", "")).split(" ")[0] or None,
        "date": detail.get("test_datetime"),
    }


def _accuracy(path: Path) -> Row:
    found = _ACCURACY.search(path.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise RunFailed(f"{path} names no accuracy in per cent: it is not of a benchmark that is known here.")
    detail = path.with_name(DETAIL_LOG)
    return {
        "accuracy": float(found[1]) / 100,
        "valid": not log.read_detail(detail).errors if detail.exists() else None,
    }


def _system(submitter: Path, name: str) -> Row:
    path = submitter / "systems" / f"{name}.json"
    if not path.exists():
        return {"cores": None}
    try:
        found = files.read_json(path)
        sockets, cores, nodes = (
            _count(found.get(key))
            for key in ("host_processors_per_node", "host_processor_core_count", "number_of_nodes")
        )
    except (ValueError, AttributeError) as error:
        raise RunFailed(f"{path} is no description of a system ({error}): correct the file.") from error
    return {
        "system": found.get("system_name") or name,
        "cpu": found.get("host_processor_model_name"),
        "cores": sockets * cores * (nodes or 1) if sockets and cores else None,
        "accelerator": found.get("accelerator_model_name") or None,
    }


def _count(value: object) -> int | None:
    """Return the number of a field, which the rules let be a text."""
    found = re.match(r"\s*(\d+)", str(value))
    return int(found[1]) if found else None
