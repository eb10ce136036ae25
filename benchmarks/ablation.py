"""What pays in a search: ways to choose what is looked at, each over seeds, as many looks in each.

    python benchmarks/ablation.py --out DIR [--seeds N] [--ways WAY ...] -- OPTION OF harness search run ...

The options are those of `harness search run` but --out, --seed and --until: baseline, images, store, the
space and the wanted speed, without which networks of unlike latencies would be held against each other. Each
search stops after its scouts; two processes train for it. The same call goes on where an interrupted one
stopped. It measures, and so wants a machine with nothing else at work.

All ways look first at what somebody would think of, and then, turn by turn, at as many others, which they
choose by

- macs: work, the floor;
- weighed: what was seen so far, of which work is the first guess (what a search does).

What one way has trained or measured, another of the same seed does not again. The report says for each what
the best that somebody would think of had after its look, the best of the turns, the mean of their best
three, and how each is off from `macs`, over seeds with a 95 % interval.
"""

import argparse
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar import TORCHRUN, harness

from harness.errors import HarnessError
from harness.files import read_json, write_json
from harness.model.architecture import Architecture
from harness.search import verdict
from harness.search.accuracy.estimator import Additive
from harness.search.accuracy.weighing import Seen

FLOOR = "macs"
_OWN = ("request.json", "spent.json", "reached", "scouts")
"""What parts are called that hang on what a way has chosen."""
_OF_SEED = ("look-", "brief-", "bar.json")
"""What those are called that another seed has otherwise."""
_BEST = 3


WAYS = (FLOOR, "weighed")


@dataclass(frozen=True)
class Unweighed:
    """Takes the place of weighing.Weighed where nothing is learned from what was seen."""

    estimator: Additive
    baseline: Architecture

    def promise(self, architecture: Architecture) -> float:
        return self.estimator.score(architecture)

    def expected(self, architecture: Architecture) -> tuple[float, float]:
        return self.estimator.score(architecture), 0.0


@dataclass(frozen=True)
class Found:
    """Accuracies after their looks, as fractions."""

    thoughts: tuple[float, ...]
    turns: tuple[float, ...]

    @property
    def best(self) -> float:
        return max(self.turns)

    @property
    def best_three(self) -> float:
        return statistics.fmean(sorted(self.turns)[-_BEST:])


def search(way: str, seed: int, out: Path, words: Sequence[str]) -> None:
    """Search in OUT/WAY-SEED up to its scouts, with what others have found out."""
    folder = out / f"{way}-{seed}"
    begin(way, seed, folder, words, "table", [sys.executable])
    if not any((folder / "parts").glob("scouts-*")):
        lend(out, folder, seed)
    begin(way, seed, folder, words, "scouts", TORCHRUN)


def begin(way: str, seed: int, folder: Path, words: Sequence[str], until: str, start: Sequence[str]) -> None:
    given = ["--seed", str(seed), "--until", until, "--out", str(folder)]
    called = harness("search", "run", *words, *given)[3:]
    subprocess.run([*start, __file__, "--as", way, *called], check=True)


def lend(out: Path, folder: Path, seed: int) -> None:
    """Copy what other ways have measured and trained, and does not depend on what they chose.

    It takes the place of what is there, as the wanted latency must be the same for all.
    """
    for other in (path for path in out.glob("*-*/parts") if path.parent != folder):
        left = _OWN if other.parent.name.endswith(f"-{seed}") else (*_OWN, *_OF_SEED)
        for path in other.iterdir():
            if not path.name.startswith(left):
                shutil.copyfile(path, folder / "parts" / path.name)


def searched(way: str, words: Sequence[str]) -> None:
    """Be `harness` for one search; turns choose as `way` has it."""
    from harness.cli import main
    from harness.search.strategy import scouting

    def unweighed(estimator: Additive, baseline: Architecture, _: Sequence[Seen]) -> Unweighed:
        return Unweighed(estimator, baseline)

    turn, weigh = scouting.Scouting._turn, scouting.weigh

    def with_nothing_learned(*given: Any) -> Any:
        scouting.weigh = unweighed  # type: ignore[assignment]
        try:
            return turn(*given)
        finally:
            scouting.weigh = weigh

    if way == FLOOR:
        scouting.Scouting._turn = with_nothing_learned  # type: ignore[assignment,method-assign]
    sys.argv = ["harness", *words]
    main()


def found(folder: Path) -> Found:
    """Read what a search has looked at."""

    def looks(part: Path) -> list[float]:
        keys = [Architecture.from_dict(one).key for one in read_json(part)["found"]]
        # A look at all there is to learn from is the brief training.
        kept = [
            [path for kind in ("look", "brief") for path in part.parent.glob(f"{kind}-{key}-*.json")]
            for key in keys
        ]
        return [float(read_json(paths[0])) for paths in kept]

    parts = folder / "parts"
    spent = {path.stem.partition("-")[2].partition("-")[2] for path in parts.glob("scouts-*.json")}
    if len(spent) > 1:
        raise HarnessError(f"{folder} holds turns by looks of several kinds: give another --out.")
    turns = [accuracy for path in sorted(parts.glob("scouts-*.json")) for accuracy in looks(path)]
    return Found(tuple(looks(parts / "thoughts.json")), tuple(turns))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half of the width of its 95 % interval, by Student's t; nan of one value."""
    return statistics.fmean(values), math.nan if len(values) == 1 else verdict.half_width(values)


def report(out: Path, ways: Sequence[str], seeds: Sequence[int]) -> None:
    """Print the table and write it to OUT/ablation.json."""
    all_found = {way: [found(out / f"{way}-{seed}") for seed in seeds] for way in ways}
    document = {}
    for way, several in all_found.items():
        row = {
            "thoughts": [100 * max(one.thoughts) for one in several],
            "turns": [100 * one.best for one in several],
            "best three of turns": [100 * one.best_three for one in several],
        }
        text = "; ".join(f"{name} {', '.join(f'{one:.2f}' for one in row[name])} %" for name in row)
        if FLOOR in all_found and way != FLOOR:
            pairs = zip(several, all_found[FLOOR], strict=True)
            off = interval([100 * (one.best_three - floor.best_three) for one, floor in pairs])
            row["best three less the floor's, mean and half width"] = list(off)
            text += f"; best three less those of {FLOOR} {off[0]:+.2f} points, +/- {off[1]:.2f}"
        print(f"{way}: {text}")
        document[way] = row
    write_json(out / "ablation.json", document)


def main() -> int:
    if sys.argv[1:2] == ["--as"]:
        searched(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="searches of each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY")
    parser.add_argument("words", nargs="+", metavar="OPTION", help="of `harness search run`, behind --")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    seeds = range(1, 1 + given.seeds)
    for seed in seeds:
        for way in given.ways:
            search(way, seed, given.out, given.words)
    report(given.out, given.ways, seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
