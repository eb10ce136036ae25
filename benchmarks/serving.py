"""What serving costs, and whether the client keeps up: LoadGen through an endpoint on this machine.

    python benchmarks/serving.py --model CARD --store STORE --endpoint URL [--rounds 5] [--seconds 3] [--json]
    python benchmarks/serving.py --model CARD --endpoint URL --calls 10000

Start the server first, as the README says that `harness export` wrote. For the endpoint:

- SingleStream, one call at a time: what `harness explain --endpoint` finds, the p50 that serving adds to the
  model in process in alternating rounds, and its parts.
- Saturation: samples/s of LoadGen's log in Offline, with the most calls of --concurrency under way, over the
  samples/s of the fastest other client, in alternating rounds. The others, by gRPC, each with every number of
  calls: tritonclient's `async_infer`, tritonclient in threads, and perf_analyzer where it is on the path (of
  tritonclient 2.41 or perf-analyzer; it wants Triton).
- With --calls: the memory of a client after so many calls, over that after a tenth of them.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import tritonclient.grpc as triton

from harness.backend import graph, served
from harness.dataset.store import Store, open_store
from harness.endpoint import meeting
from harness.endpoint.address import Endpoint, parse
from harness.explain.served import session
from harness.explain.served.document import HERE, PARTS, THERE, ServedExplanation
from harness.explain.session import Request
from harness.loadgen.settings import RunSettings
from harness.machine import procfs
from harness.measurement import series
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card, find_card

_PROGRAM = "perf_analyzer"

Client = Callable[[Endpoint, np.ndarray[Any, Any], int, float], float]
"""Ask an endpoint with pixels, so many calls at a time, for some seconds; return calls/s."""


def explained(card: Card, store: Path, endpoint: Endpoint, rounds: int, seconds: float) -> ServedExplanation:
    settings = RunSettings(Scenario.SINGLE_STREAM, threads=1, duration_s=seconds)
    asked = RunSettings(Scenario.SINGLE_STREAM, duration_s=seconds, endpoint=endpoint)
    return session.explain(Request(card, settings, store, rounds), asked)


def _asked(endpoint: Endpoint, pixels: np.ndarray[Any, Any]) -> list[triton.InferInput]:
    met = meeting.meet(endpoint)
    taken = met.model.inputs[0]
    if taken.datatype == "BYTES":
        pixels = np.array([image.tobytes() for image in pixels], np.object_)
    one = triton.InferInput(taken.name, list(pixels.shape), taken.datatype)
    one.set_data_from_numpy(pixels)
    return [one]


def asynchronous(endpoint: Endpoint, pixels: np.ndarray[Any, Any], calls: int, seconds: float) -> float:
    """Ask by tritonclient's callbacks."""
    free, done, faults = threading.Semaphore(calls), [0], list[Exception]()

    def answered(result: Any, error: Exception | None) -> None:
        if error is not None:
            faults.append(error)
        done[0] += 1
        free.release()

    with triton.InferenceServerClient(endpoint.target) as client:
        start, number = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            free.acquire()
            number += 1
            client.async_infer(endpoint.model, _asked_once(endpoint, pixels), answered)
        for _ in range(calls):
            free.acquire()
        wall_s = time.perf_counter() - start
    if faults:
        raise SystemExit(f"tritonclient failed: {faults[0]}")
    return number / wall_s


def threaded(endpoint: Endpoint, pixels: np.ndarray[Any, Any], calls: int, seconds: float) -> float:
    """Ask by a tritonclient in each of some threads."""
    counts = [0] * calls
    inputs = _asked_once(endpoint, pixels)
    end = time.perf_counter() + seconds

    def ask(place: int) -> None:
        with triton.InferenceServerClient(endpoint.target) as client:
            while time.perf_counter() < end:
                client.infer(endpoint.model, inputs)
                counts[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(calls)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def analyzer(endpoint: Endpoint, pixels: np.ndarray[Any, Any], calls: int, seconds: float) -> float:
    """Ask by perf_analyzer, Triton's own client in C++, with pixels of its own."""
    program = shutil.which(_PROGRAM)
    assert program is not None
    command = [program, "-m", endpoint.model, "-u", endpoint.target, "-i", "grpc"]
    command += ["--concurrency-range", str(calls), "--measurement-interval", str(round(1000 * seconds / 3))]
    # It asks for three windows in turn that agree; here the rounds tell how far figures spread.
    command += ["--stability-percentage", "999"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"throughput: ([\d.]+) infer/sec", done.stdout)
    if not found:
        raise SystemExit(f"{_PROGRAM} measured nothing: {(done.stdout + done.stderr)[-500:]}")
    return float(found[-1])


_INPUTS: dict[tuple[str, tuple[int, ...]], list[triton.InferInput]] = {}


def _asked_once(endpoint: Endpoint, pixels: np.ndarray[Any, Any]) -> list[triton.InferInput]:
    key = (str(endpoint), pixels.shape)
    if key not in _INPUTS:
        _INPUTS[key] = _asked(endpoint, pixels)
    return _INPUTS[key]


CLIENTS: dict[str, Client] = {"tritonclient async": asynchronous, "tritonclient threads": threaded}


def saturated(
    card: Card, store: Store, endpoint: Endpoint, rounds: int, seconds: float, concurrency: list[int]
) -> list[dict[str, Any]]:
    """Return of each round what LoadGen and the other clients reached, in samples/s."""
    clients = {**CLIENTS, **({_PROGRAM: analyzer} if shutil.which(_PROGRAM) else {})}
    pixels = np.array(store.samples(card.input.recipe)[:1])
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder, staging = Path(name), Path(name, "staging")
        staging.mkdir()
        settings = RunSettings(
            Scenario.OFFLINE, streams=max(concurrency), duration_s=seconds, endpoint=endpoint
        )
        one = series.prepare(card, store, settings, folder / "series", staging, lambda now: None)
        for number in range(1, rounds + 1):
            entry: dict[str, Any] = {}

            def ours(number: int = number, entry: dict[str, Any] = entry) -> None:
                nonlocal one
                one, measured = series.measure(one, number, folder, staging, lambda now: None)
                entry["loadgen"] = measured.samples_per_second

            def others(entry: dict[str, Any] = entry) -> None:
                for title, client in clients.items():
                    rates = {calls: client(endpoint, pixels, calls, seconds) for calls in concurrency}
                    entry[title] = rates

            for way in (ours, others) if number % 2 else (others, ours):
                way()
            found.append(entry)
            print(f"round {number}/{rounds}: {entry}", file=sys.stderr)
    return found


def ratio(entry: dict[str, Any]) -> float:
    """Return LoadGen's rate over that of the fastest other client of the round."""
    others = [rate for value in entry.values() if isinstance(value, dict) for rate in value.values()]
    return float(entry["loadgen"] / max(others))


def resident_bytes() -> int:
    """Return what this process keeps in memory."""
    text = procfs.text(Path("/proc/self/statm"))
    assert text is not None
    return int(text.split()[1]) * 4096


def growth(card: Card, endpoint: Endpoint, calls: int) -> dict[str, float]:
    """Return the memory after so many calls over that after a tenth of them, and ms a call."""
    deployed = graph.deployed(model_file.read(card), card)
    model = served.served(meeting.meet(endpoint), deployed, card, 1).model
    request = model.create_infer_request()
    pixels = np.random.default_rng(1).integers(0, 256, tuple(deployed.input(0).shape)).astype(np.uint8)
    answer = np.zeros(tuple(deployed.output(0).shape), np.float32)
    request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
    request.set_output_tensor(ov.Tensor(answer, shared_memory=True))
    for _ in range(calls // 10):
        request.infer()
    before, start = resident_bytes(), time.perf_counter()
    for _ in range(calls):
        request.infer()
    wall_s = time.perf_counter() - start
    return {"before_bytes": before, "ratio": resident_bytes() / before, "ms_a_call": 1000 * wall_s / calls}


def lines(found: ServedExplanation, rounds: list[dict[str, Any]]) -> Iterator[str]:
    here, there = found.way(HERE).figures_ns, found.way(THERE).figures_ns
    ratios = [two / one for one, two in zip(here, there, strict=True)]
    low, middle, high = found.added_ns
    yield "| measured | median | range over rounds |"
    yield "| --- | --- | --- |"
    yield (
        f"| p50 through the endpoint over in process ({statistics.median(here) / 1e6:.2f} ms) | "
        f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
    )
    yield f"| added p50, µs | {middle / 1e3:.0f} | {low / 1e3:.0f} to {high / 1e3:.0f} |"
    for part in PARTS:
        values = [value / 1e3 for split in found.splits if (value := split.part_ns(part)) is not None]
        if values:
            yield (
                f"| of the p50: {part}, µs | {statistics.median(values):.0f} | "
                f"{min(values):.0f} to {max(values):.0f} |"
            )
    ratios = [ratio(entry) for entry in rounds]
    yield (
        f"| saturation: LoadGen over the fastest other client | {statistics.median(ratios):.3f} | "
        f"{min(ratios):.3f} to {max(ratios):.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="card")
    parser.add_argument("--endpoint", required=True, type=parse)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--calls", type=int, help="look for a leak instead")
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON")
    options = parser.parse_args()
    card, endpoint = find_card(options.model), options.endpoint
    if options.calls:
        print(json.dumps(growth(card, endpoint, options.calls)))
        return
    found = explained(card, options.store, endpoint, options.rounds, options.seconds)
    rounds = saturated(
        card, open_store(options.store), endpoint, options.rounds, options.seconds, options.concurrency
    )
    if options.json:
        print(json.dumps({"explained": found.to_dict(), "saturation": rounds}, indent=2))
    else:
        print("\n".join(lines(found, rounds)))


if __name__ == "__main__":
    main()
