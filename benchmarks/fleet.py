"""What a fleet costs beside the command itself, and whether it measures the same.

    python benchmarks/fleet.py [--pairs 5] [--tasks 10]

Pairs of the same `harness compare` of two built-in models, plain and through a Ray cluster of this machine
alone, in turn, the first of a pair being another each time: the ratio of their figures, with its 95 %
interval. Then tasks that do next to nothing: the time from the order until the result is home, less the time
of the child itself.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.comparison import document
from harness.fleet import duty, home, member, order
from harness.fleet.home import RESULTS, TASK
from harness.measurement.statistics import Interval, interval
from harness.process.cluster import joined

_COMPARE = (
    "compare", "--model", "builtin-resnet50", "--model", "builtin-searched", "--rounds", "3",
    "--duration", "1", "--threads", "1", "--no-tuning",
)  # fmt: skip
_NOTHING = ("model", "list", "--json")


def run(words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "harness", *words], check=True, capture_output=True)


def figures(folder: Path) -> dict[str, float]:
    """Return what each variant reached in each scenario."""
    (found,) = document.read(folder / document.FILE_NAME)
    centers = {(cell.variant, cell.scenario): cell.interval() for cell in found.cells}
    return {f"{variant}, {scenario}": one.center for (variant, scenario), one in centers.items() if one}


def compared(pairs: int, address: str) -> dict[str, Interval]:
    """Return by variant and scenario the ratio of the fleet's figure to the plain one."""
    ratios: dict[str, list[float]] = {}
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as name:
            plain, fleet = Path(name, "plain"), Path(name, "fleet")
            ways = [
                [*_COMPARE, "--out", str(plain)],
                ["fleet", "run", "--address", address, "--out", str(fleet), "--", *_COMPARE],
            ]
            for words in ways if number % 2 else reversed(ways):
                run(words)
            (task,) = fleet.glob(f"*/*/*/{TASK}")
            ours, theirs = figures(plain), figures(task.parent / RESULTS)
            for key, value in ours.items():
                ratios.setdefault(key, []).append(theirs[key] / value)
            print(f"pair {number + 1} of {pairs}", file=sys.stderr)
    return {key: interval(values) for key, values in ratios.items()}


def overheads(tasks: int, address: str) -> tuple[list[float], list[float]]:
    """Return seconds beyond the child of each task, and seconds of the child."""
    beyond, children = [], []
    with joined(address) as cluster, tempfile.TemporaryDirectory() as name:
        (node,) = cluster.nodes()
        one = member.of(node.id, cluster.result(cluster.start(node, member.hello, [])))
        command = order.Command(_NOTHING, _NOTHING, (), (), (), (), "0" * 64)
        for number in range(tasks):
            settings = f"{number:012}"
            parcels = cluster.send(command.parcels)
            begun = time.monotonic()
            outcome = cluster.result(cluster.start(node, duty.carry_out, command.order(settings), parcels))
            folder = home.folder_of(Path(name), one, command.models, settings)
            task = home.write(Path(name), folder, one, command.given, outcome)
            whole = time.monotonic() - begun
            child = _seconds(task.started, task.ended)
            beyond.append(whole - child)
            children.append(child)
    return beyond, children


def _seconds(started: str, ended: str) -> float:
    found = datetime.datetime.fromisoformat(ended) - datetime.datetime.fromisoformat(started)
    return found.total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--address", default="local:1")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.tasks:
        beyond, children = overheads(given.tasks, given.address)
        found["overhead_s"] = {
            "median": round(statistics.median(beyond), 2),
            "most": round(max(beyond), 2),
            "child": round(statistics.median(children), 2),
        }
    if given.pairs > 1:
        found["fleet over plain"] = {
            key: f"{one.center:.3f} ({one.low:.3f} to {one.high:.3f})"
            for key, one in compared(given.pairs, given.address).items()
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
