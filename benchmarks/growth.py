"""How the cost of a search grows: with the architectures tried, with the processes that try, with image size.

    python benchmarks/growth.py --searched OUT [--trials 500 --trials 1000] [--workers 1 --workers 2]

OUT is the --out of a finished `harness search run`, called from the folder that it was called from: its
latency table and its costs of accuracy are searched again with NSGA-II. Training is timed as one step of
distillation from the baseline at each --size (default: the baseline's, three quarters and half of it).
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from harness.model import card
from harness.model.architecture import Architecture
from harness.profiling.conditions import Conditions
from harness.search import result
from harness.search.accuracy import costs
from harness.search.accuracy.estimator import Blockwise
from harness.search.document import SearchResult
from harness.search.forecast import step_s
from harness.search.latency import table as tables
from harness.search.space import baseline
from harness.search.space.revisions import Space
from harness.search.strategy.evolution import Effort, Problem, nsga2
from harness.training.network import ResNet

_BATCH = 64
_STEPS = 5


def problem_of(outcome: SearchResult) -> Problem:
    asked = outcome.request
    space = Space(asked.space.baseline, asked.space.sizes)
    conditions = Conditions.of(asked.conditions.scenario, asked.conditions.threads)
    table = tables.load(Path(outcome.table.file), space, conditions)
    path = Path(outcome.estimator.file or "")
    identity = json.loads(path.read_text(encoding="utf-8"))["identity"]
    score = Blockwise(costs.Table(space, costs.load(path, identity), identity)).score
    return Problem(space, table.predict_ms, score, outcome.search.cap_ms)


def search_s(problem: Problem, trials: int, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        nsga2(problem, Effort(trials, workers=workers), Path(folder) / "journal", {})
        return time.perf_counter() - started


def images_per_second(architecture: Architecture) -> float:
    teacher, cpu = ResNet(architecture).eval(), torch.device("cpu")
    pixels = torch.randint(256, (_BATCH, architecture.size, architecture.size, 3), dtype=torch.uint8)
    return _BATCH / min(step_s(teacher, pixels, cpu) for _ in range(_STEPS))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searched", type=Path, required=True)
    parser.add_argument("--trials", type=int, action="append")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--size", type=int, action="append", help="px")
    options = parser.parse_args()
    outcome = result.read(options.searched)
    problem = problem_of(outcome)
    print("| trials | workers | seconds | ms a trial |\n| --- | --- | --- | --- |")
    for workers in options.workers or [1, 2]:
        for trials in options.trials or [500, 1000, 2000]:
            seconds = search_s(problem, trials, workers)
            print(f"| {trials:,} | {workers} | {seconds:.1f} | {1000 * seconds / trials:.1f} |", flush=True)
    found, _ = baseline.read(card.find_card(outcome.request.baseline.name))
    sizes = options.size or [found.size, found.size * 3 // 4, found.size // 2]
    print("\n| input | MACs | training, images/s |\n| --- | --- | --- |")
    for size in sizes:
        at = replace(found, size=size)
        print(f"| {size} px | {at.count_macs() / 1e6:.1f} M | {images_per_second(at):.0f} |")


if __name__ == "__main__":
    main()
