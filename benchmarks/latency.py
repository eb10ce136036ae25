"""How well the search's latency table predicts networks it has not seen, at several input sizes.

    python benchmarks/latency.py [--size 224 --size 32] [--scenario SingleStream] [--threads 1] --out DIR

The baseline is the full ResNet-50 (its weights do not matter): with 1,000 classes and the usual stem, and up
to 64 px with 10 classes and a 3x3 stem with pooling, as for CIFAR-10. Tables are written to DIR; one that is
there and good is not measured again, and an interrupted call goes on.
"""

import argparse
import json
from pathlib import Path

from harness.mlperf.scenario import SEARCHED, Scenario
from harness.model.architecture import Architecture, resnet50
from harness.profiling.conditions import Conditions
from harness.search.latency.table import LatencyTable, obtain
from harness.search.space.revisions import Space

_SMALL = 64


def baseline(size: int) -> Architecture:
    return resnet50(10, size, 1.0, "3x3-pool") if size <= _SMALL else resnet50(1000, size)


def row(size: int, table: LatencyTable) -> str:
    proof = table.validation
    return (
        f"| {size} px, {table.conditions.scenario} | {proof.mape:.1%} | {proof.bias:+.1%} | {proof.tau:.3f} "
        f"| {proof.calibrated_mape:.1%} | {proof.macs_mape:.1%} | {proof.macs_tau:.3f} "
        f"| {proof.repeatability:.1%}, {proof.repeated_tau:.3f} "
        f"| {len(table.visits)} in {table.seconds / 60:.1f} min |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", action="append", type=int, help="px; default: 224 and 32")
    parser.add_argument("--scenario", choices=[str(one) for one in SEARCHED], default=str(SEARCHED[0]))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true", help="print the tables' summaries as JSON")
    options = parser.parse_args()
    conditions = Conditions.of(Scenario(options.scenario), options.threads)
    tables = {}
    for size in options.size or [224, 32]:
        path = options.out / f"latency-{size}-{conditions.scenario}-{conditions.threads}.json"
        tables[size] = obtain(Space(baseline(size), (size,)), conditions, path)
    if options.json:
        print(json.dumps({size: table.summary() for size, table in tables.items()}, indent=2))
        return
    print("| table | mean error | bias | tau | fitted | MACs, fitted | tau | measured again | networks |")
    print("|" + " --- |" * 9)
    print("\n".join(row(size, table) for size, table in tables.items()))


if __name__ == "__main__":
    main()
