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
import multiprocessing
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import openvino as ov

from harness import conf, graph, loadgen, log, model_file
from harness.backend import Backend
from harness.card import Card, find_card
from harness.job import Job
from harness.scenario import Mode, Scenario
from harness.settings import RunSettings

_BARE_S = 2.0
_APP = "benchmark_app"


class SharedBackend(Backend):
    """A backend whose model is compiled once, for the bare loop and LoadGen alike."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, lambda event, content: None, _fail)
        self._ladder = super().compile_ladder(job.settings)

    def compile_ladder(self, settings: RunSettings) -> list[graph.Compiled]:
        return self._ladder


def _fail(message: str) -> None:
    raise SystemExit(message)


def bare_p50_ns(backend: SharedBackend) -> float:
    """Time `infer()` alone, over the samples that LoadGen uses."""
    backend.qsl.load(range(min(backend.qsl.count, 1024)))
    block = backend.qsl.block
    tensors = [ov.Tensor(block[row : row + 1], shared_memory=True) for row in range(len(block))]
    request = backend.compile_ladder(backend.job.settings)[0].model.create_infer_request()
    times_ns = []
    end = time.perf_counter() + _BARE_S
    while time.perf_counter() < end or len(times_ns) < 100:
        request.set_input_tensor(tensors[len(times_ns) % len(tensors)])
        start_ns = time.perf_counter_ns()
        request.infer()
        times_ns.append(time.perf_counter_ns() - start_ns)
    backend.qsl.unload()
    return statistics.median(times_ns)


def single_stream_round(job: Job, bare_first: bool, answer: Any) -> None:
    """Run in a child, because LoadGen reads its rules once per process."""
    backend = SharedBackend(job)
    bare_ns = bare_p50_ns(backend) if bare_first else None
    loadgen.perform(backend)
    answer.send(bare_ns or bare_p50_ns(backend))


def offline_round(job: Job, answer: Any) -> None:
    loadgen.perform(SharedBackend(job))
    answer.send(None)


def in_child(function: Any, *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*arguments, sender))
    process.start()
    sender.close()
    value = receiver.recv()
    process.join()
    return value


def make_job(card: Card, store: Path, settings: RunSettings, folder: Path, estimate: dict[str, float]) -> Job:
    folder.mkdir()
    user_conf = folder / "user.conf"
    user_conf.write_text(conf.render_user_conf(card.benchmark, settings.scenario, **estimate))
    return Job(card, store, settings, folder, Mode.PERFORMANCE, user_conf)


def measure_single_stream(card: Card, store: Path, folder: Path, number: int) -> dict[str, float]:
    settings = RunSettings(Scenario.SINGLE_STREAM, threads=1, duration_s=3.0, batch=1)
    job = make_job(card, store, settings, folder / f"ss{number}", {"target_latency": 0.2})
    bare_ns = in_child(single_stream_round, job, number % 2 == 0)
    measured = log.read_performance(job.log_folder / "mlperf_log_detail.txt")
    return {"bare_us": bare_ns / 1e3, "loadgen_us": measured.latency_p50_ns / 1e3}


def measure_offline(card: Card, store: Path, folder: Path, number: int, batch: int, rate: float) -> float:
    settings = RunSettings(Scenario.OFFLINE, batch=batch, duration_s=4.0)
    job = make_job(card, store, settings, folder / f"offline{batch}-{number}", {"target_qps": rate})
    in_child(offline_round, job)
    measured = log.read_performance(job.log_folder / "mlperf_log_detail.txt")
    assert measured.samples_per_second is not None
    return measured.samples_per_second


def benchmark_app(deployed: Path) -> float:
    program = shutil.which(_APP, path=str(Path(sys.executable).parent)) or shutil.which(_APP)
    if program is None:
        raise SystemExit(f"{_APP} is not installed: it comes with `pip install openvino`.")
    command = [
        program,
        "-m",
        str(deployed),
        "-d",
        "CPU",
        "-hint",
        "throughput",
        "-t",
        "4",
        "-infer_precision",
        "f32",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    if found is None:
        raise SystemExit(f"{_APP} printed no throughput:\n{done.stdout[-500:]}")
    return float(found[1])


def measure(card: Card, store: Path, rounds: int, batches: list[int]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deployed = folder / "deployed.xml"
        ov.save_model(graph.deployed(model_file.read(card), card), deployed, compress_to_fp16=False)
        single, offline = [], []
        rate = benchmark_app(deployed)
        for number in range(rounds):
            single.append(measure_single_stream(card, store, folder, number))
            entry = {"benchmark_app": benchmark_app(deployed)}
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
