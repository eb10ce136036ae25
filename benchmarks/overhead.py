"""What the harness costs: LoadGen against a bare loop, and Offline against OpenVINO's benchmark_app.

    python benchmarks/overhead.py --store STORE [--model CARD ...] [--rounds 5] [--json]

For each model, in alternating rounds on this machine:

- SingleStream, one thread: p50 of LoadGen's log less p50 of a bare `infer()` loop over the same compiled
  model in the same process; only `infer()` itself is timed in the loop, the input being set before.
- Offline, all CPUs: samples/s of LoadGen's log over `benchmark_app -hint throughput` on the very graph that
  the harness deploys (u8 in, label out), at the same precision.

Ratios are taken within a round; the table shows their medians and ranges.
"""

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import openvino as ov

from harness.backend import graph
from harness.explain import benchmark_app
from harness.loadgen import drive, work
from harness.loadgen.job import Job
from harness.loadgen.settings import RunSettings
from harness.loadgen.subject import Backend
from harness.loadgen.sut import windows
from harness.mlperf import conf, log
from harness.mlperf.scenario import Mode, Scenario
from harness.model import file as model_file
from harness.model.card import Card, find_card
from harness.process.undisturbed import undisturbed
from harness.profiling import loops

_BARE_S = 2.0
_APP_S = 4.0
_RESIDENT = 1024


def single_stream_round(backend: Backend, *, bare_first: bool) -> dict[str, Any]:
    """Run in a child, because LoadGen reads its rules once per process."""
    compiled = backend.compile_ladder(backend.job.settings)
    bare_ns = _bare_p50_ns(backend, compiled[-1]) if bare_first else None
    drive.perform(backend, compiled)
    return {"bare_ns": bare_ns or _bare_p50_ns(backend, compiled[-1])}


def _bare_p50_ns(backend: Backend, compiled: graph.Compiled) -> float:
    """Time `infer()` alone, over the samples that LoadGen uses."""
    backend.qsl.load(range(min(backend.qsl.count, _RESIDENT)))
    with undisturbed():
        median_ns = loops.bare(compiled, windows(backend.qsl.block, 1), _BARE_S).median_ns
    backend.qsl.unload()
    return median_ns


def make_job(card: Card, store: Path, settings: RunSettings, folder: Path, estimate: dict[str, float]) -> Job:
    folder.mkdir()
    user_conf = folder / "user.conf"
    user_conf.write_text(conf.render_user_conf(card.benchmark, settings.scenario, **estimate))
    return Job(card, store, settings, folder, Mode.PERFORMANCE, user_conf)


def measure_single_stream(card: Card, store: Path, folder: Path, number: int) -> dict[str, float]:
    settings = RunSettings(Scenario.SINGLE_STREAM, threads=1, duration_s=3.0, batch=1)
    job = make_job(card, store, settings, folder / f"ss{number}", {"target_latency": 0.2})
    bare_ns = work.run(job, work=partial(single_stream_round, bare_first=number % 2 == 0))["bare_ns"]
    measured = log.read_performance(job.log_folder / "mlperf_log_detail.txt")
    return {"bare_us": bare_ns / 1e3, "loadgen_us": measured.latency_p50_ns / 1e3}


def measure_offline(card: Card, store: Path, folder: Path, number: int, batch: int, rate: float) -> float:
    settings = RunSettings(Scenario.OFFLINE, batch=batch, duration_s=4.0)
    job = make_job(card, store, settings, folder / f"offline{batch}-{number}", {"target_qps": rate})
    work.run(job)
    measured = log.read_performance(job.log_folder / "mlperf_log_detail.txt")
    assert measured.samples_per_second is not None
    return measured.samples_per_second


def app_rate(program: str, deployed: Path) -> float:
    return benchmark_app.run(program, deployed, "f32", _APP_S, ["-hint", "throughput"]).samples_per_second


def measure(card: Card, store: Path, rounds: int, batches: list[int]) -> dict[str, Any]:
    program = benchmark_app.find()
    if program is None:
        raise SystemExit(f"{benchmark_app.NAME} is not installed: it comes with `pip install openvino`.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deployed = folder / "deployed.xml"
        ov.save_model(graph.deployed(model_file.read(card), card), deployed, compress_to_fp16=False)
        single, offline = [], []
        rate = app_rate(program, deployed)
        for number in range(rounds):
            single.append(measure_single_stream(card, store, folder, number))
            entry = {"benchmark_app": app_rate(program, deployed)}
            for batch in batches:
                entry[f"batch {batch}"] = measure_offline(card, store, folder, number, batch, rate)
            offline.append(entry)
            print(f"{card.name} round {number + 1}/{rounds}: {single[-1]} {entry}", file=sys.stderr)
    return {"model": card.name, "single_stream": single, "offline": offline}


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| model | measured | median | range over rounds |",
        "| --- | --- | --- | --- |",
    ]
    for result in results:
        extra = [entry["loadgen_us"] - entry["bare_us"] for entry in result["single_stream"]]
        bare_us = statistics.median(entry["bare_us"] for entry in result["single_stream"])
        lines.append(
            f"| {result['model']} | Single-Stream p50: LoadGen less a bare loop ({bare_us / 1e3:.2f} ms) | "
            f"{statistics.median(extra):+.1f} µs | {min(extra):+.1f} to {max(extra):+.1f} µs |"
        )
        for key in result["offline"][0]:
            if key != "benchmark_app":
                ratios = [entry[key] / entry["benchmark_app"] for entry in result["offline"]]
                lines.append(
                    f"| {result['model']} | Offline over benchmark_app, {key} | "
                    f"{statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True, help="holds the recipes of all models")
    parser.add_argument("--model", action="append", required=True, help="card; may be given several times")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, action="append", help="Offline batches (default: 1 and 4)")
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON")
    options = parser.parse_args()
    cards = [find_card(name) for name in options.model]
    results = [measure(card, options.store, options.rounds, options.batch or [1, 4]) for card in cards]
    print(json.dumps(results, indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
