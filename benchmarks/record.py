"""Record what the harness costs on this machine, and say what became slower since the last record.

    python benchmarks/record.py [--rounds 7] [--results DIR] [--json]        (make bench)

Measures what `overhead.py` measures, on the built-in model, and writes it with the machine and the commit to
benchmarks/results/MACHINE/DATE-COMMIT.json. All figures are ratios within a round, so that records made on
different days compare. A figure became slower, or faster, if the 95 % interval of the ratio between the two
records (Welch's t on the logarithms) excludes 1. Exits with 1 if something became slower.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import overhead  # type: ignore[import-not-found]
from scipy.stats import ttest_ind

from harness import files
from harness.dataset import builtin
from harness.dataset.images import find_images
from harness.dataset.store import prepare
from harness.machine import system
from harness.measurement.statistics import Interval, Outcome, interval
from harness.model.card import find_card

HERE = Path(__file__).parent
FORMAT = 1
_MODEL = "builtin-resnet50"
_IMAGES = 400
_BATCHES = (1, 4)

Figures = dict[str, list[float]]


def measure(rounds: int) -> Figures:
    """Return speeds over that of a bare loop or of benchmark_app, one a round; more is faster."""
    card = find_card(_MODEL)
    with tempfile.TemporaryDirectory() as name:
        images = builtin.generate(Path(name, "images"), _IMAGES)
        prepare(find_images(images, len(builtin.CLASSES)), card.input.recipe, Path(name, "store"), "builtin")
        found = overhead.measure(card, Path(name, "store"), rounds, list(_BATCHES))
    figures = {
        "Single-Stream p50, bare loop over LoadGen": [
            one["bare_us"] / one["loadgen_us"] for one in found["single_stream"]
        ]
    }
    for batch in _BATCHES:
        figures[f"Offline batch {batch}, LoadGen over benchmark_app"] = [
            one[f"batch {batch}"] / one["benchmark_app"] for one in found["offline"]
        ]
    return figures


def change(now: list[float], before: list[float]) -> Interval:
    """Return how many times as fast a figure is now, with the 95 % interval of two independent samples."""
    test = ttest_ind(np.log(now), np.log(before), equal_var=False)
    within = test.confidence_interval(0.95)
    center = float(np.exp(np.mean(np.log(now)) - np.mean(np.log(before))))
    return Interval(center, float(np.exp(within.low)), float(np.exp(within.high)), len(now))


def last_record(folder: Path) -> dict[str, Any] | None:
    """Return the newest record of a machine; their names begin with the date."""
    paths = sorted(folder.glob("*.json"))
    return json.loads(paths[-1].read_text(encoding="utf-8")) if paths else None


def commit() -> str:
    """Return the commit that is measured, with a '+' where files differ from it."""
    hash_text = _git("rev-parse", "--short=10", "HEAD")
    return f"{hash_text}{'+' if _git('status', '--porcelain', '--untracked-files=no') else ''}"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def record(rounds: int, results: Path) -> tuple[Path, dict[str, Any], dict[str, Interval]]:
    """Measure, write the record, and return it with the changes since the last one."""
    machine = system.describe()
    folder = results / system.slug(machine)
    before = last_record(folder)
    figures = measure(rounds)
    measured = commit()
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    document = {
        "format": FORMAT,
        "created": created,
        "commit": measured,
        "machine": machine.to_dict(),
        "figures": figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{created[:19].replace(':', '')}-{measured}.json"
    files.write_json(path, document)
    old = {} if before is None else before["figures"]
    changes = {name: change(values, old[name]) for name, values in figures.items() if name in old}
    return path, document, changes


def table(document: Mapping[str, Any], changes: Mapping[str, Interval]) -> str:
    lines = ["| measured | now | against the last record |", "| --- | --- | --- |"]
    for name, values in document["figures"].items():
        found = interval(values)
        now = f"{found.center:.3f} ({found.low:.3f} to {found.high:.3f})"
        if (one := changes.get(name)) is None:
            told = "first record"
        else:
            told = f"{one.center:.3f} ({one.low:.3f} to {one.high:.3f}), {one.outcome}"
        lines.append(f"| {name} | {now} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the records")
    parser.add_argument("--json", action="store_true", help="print the record and the changes as JSON")
    options = parser.parse_args()
    path, document, changes = record(options.rounds, options.results)
    if options.json:
        print(json.dumps({**document, "changes": {name: asdict(one) for name, one in changes.items()}}))
    else:
        print(table(document, changes))
        print(f"Record: {path}", file=sys.stderr)
    if any(one.outcome is Outcome.SLOWER for one in changes.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
