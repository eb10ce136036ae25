"""What `harness tune` gains: Offline as tuned, as by default, and OpenVINO's benchmark_app.

    python benchmarks/tune.py --model CARD --store STORE [--model CARD --store STORE ...] [--rounds 5]

Each model that has no tuning on this machine is tuned first. Then samples/s in alternating rounds, all CPUs:
`benchmark_app -hint throughput` on the very graph that the harness deploys (u8 in, label out), LoadGen with
the default settings, LoadGen with the tuned ones. Ratios are taken within a round; the table shows their
medians and ranges.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import openvino as ov
from overhead import app_rate, make_job  # type: ignore[import-not-found]

from harness.backend import graph
from harness.explain import benchmark_app
from harness.loadgen import work
from harness.loadgen.settings import RunSettings, in_words
from harness.measurement.tuned import Tuning
from harness.mlperf import log
from harness.mlperf.scenario import Scenario
from harness.model import file as model_file
from harness.model.card import Card, find_card
from harness.tuner import DEFAULT_BUDGET_MIN, session

_TEST_S = 4.0
_APP, _DEFAULT, _TUNED = "benchmark_app", "default", "tuned"
_RATIOS = ((_TUNED, _APP), (_TUNED, _DEFAULT), (_DEFAULT, _APP))


def loadgen_rate(card: Card, store: Path, settings: RunSettings, folder: Path, rate: float) -> float:
    job = make_job(card, store, settings, folder, {"target_qps": rate})
    work.run(job)
    measured = log.read_performance(job.log_folder / "mlperf_log_detail.txt")
    assert measured.samples_per_second is not None
    return measured.samples_per_second


def measure(card: Card, store: Path, tuned: Tuning, rounds: int) -> dict[str, Any]:
    program = benchmark_app.find()
    if program is None:
        raise SystemExit(f"{benchmark_app.NAME} is not installed: it comes with `pip install openvino`.")
    default = RunSettings(Scenario.OFFLINE, duration_s=_TEST_S)
    variants = {_DEFAULT: default.with_defaults(), _TUNED: tuned.apply(default).with_defaults()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deployed = folder / "deployed.xml"
        ov.save_model(graph.deployed(model_file.read(card), card), deployed, compress_to_fp16=False)
        rate = app_rate(program, deployed)
        found = []
        for number in range(rounds):
            entry = {}
            # Each comes first, second and last equally often, as the one before leaves its heat behind.
            for place in range(3):
                kind = (_APP, _DEFAULT, _TUNED)[(number + place) % 3]
                entry[kind] = (
                    app_rate(program, deployed)
                    if kind == _APP
                    else loadgen_rate(card, store, variants[kind], folder / f"{kind}-{number}", rate)
                )
            found.append(entry)
            print(f"{card.name} round {number + 1}/{rounds}: {entry}", file=sys.stderr)
    return {"model": card.name, "tuning": tuned.to_dict(), "rounds": found}


def table(results: list[dict[str, Any]]) -> str:
    lines = ["| model | Offline samples/s | median | range over rounds |", "| --- | --- | --- | --- |"]
    for result in results:
        for one, other in _RATIOS:
            ratios = [entry[one] / entry[other] for entry in result["rounds"]]
            lines.append(
                f"| {result['model']} | {one} over {other} | {statistics.median(ratios):.3f} | "
                f"{min(ratios):.3f} to {max(ratios):.3f} |"
            )
        words = in_words(result["tuning"]["settings"]) or "the default"
        rates = [f"{kind} {statistics.median(entry[kind] for entry in result['rounds']):.1f}"
                 for kind in (_APP, _DEFAULT, _TUNED)]  # fmt: skip
        lines.append(f"| {result['model']} | medians: {', '.join(rates)} | | tuned: {words} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", required=True, help="card; may be given several times")
    parser.add_argument("--store", action="append", type=Path, required=True, help="of the model beside it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=DEFAULT_BUDGET_MIN, help="minutes to tune a model")
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON")
    options = parser.parse_args()
    if len(options.model) != len(options.store):
        raise SystemExit("Give a --store for each --model.")
    pairs = [(find_card(name), store) for name, store in zip(options.model, options.store, strict=True)]
    results = []
    for card, store in pairs:
        request = session.Request(card, store, Scenario.OFFLINE, budget_min=options.budget)
        (tuned,) = session.tune(request)
        results.append(measure(card, store, tuned, options.rounds))
    print(json.dumps(results, indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
