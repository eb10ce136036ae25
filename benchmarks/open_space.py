"""What the open space gives, and what of the search pays: many searches on CIFAR-10, in pieces that resume.

    python benchmarks/open_space.py --images CIFAR --out DIR PIECE ...
    python benchmarks/open_space.py --images CIFAR --out DIR --list
    python benchmarks/open_space.py --images CIFAR --out DIR report

CIFAR holds train/CLASS/ and test/CLASS/. Each piece is one `harness` command, or a few, and the same call
goes on where an interrupted one stopped. None of it was measured yet.

- baseline: a network of seven 3x3 convolutions, 159 MMAC.
- open-SEED, closed-SEED: the search in the open space and in the old one, each with its control, the best
  uniform scaling of the baseline. The wanted speed is that of 40 times a ResNet-50 of half width in FP32.
- NAME-SEED of HAND_MADE: a network that somebody would make by hand, as wide as takes no longer than the pick
  of open-SEED, trained as long, and quantized.
- no-costs-SEED, no-scouts-SEED, macs-SEED: the search in the open space without distilled costs, without
  scouts, and without both.
- report: accuracies on the test images of all that is there, and differences over seeds with 95 % intervals.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from cifar import harness, split

from harness.dataset.images import find_images
from harness.dataset.store import open_store, prepare
from harness.errors import HarnessError
from harness.mlperf.scenario import Scenario
from harness.model.architecture import Architecture, Stage
from harness.model.blocks import Block
from harness.model.card import find_card, read_card
from harness.model.layers import rounded
from harness.profiling import stopwatch
from harness.profiling.conditions import Conditions
from harness.search import result, verdict

SEEDS = (1, 2, 3)
EPOCHS = 16
TRAINING = "--optimizer muon --learning-rate 0.03 --weight-decay 0.01 --warmup-epochs 1 --smallest-area 0.6"
SEARCH = "--target-speedup 20 --threads 1 --finals 2 --seeds 1 --rounds 5 --duration 4"
VARIANTS = {
    "open": "--space open",
    "closed": "--space resnet-rev",
    "no-costs": "--space open --estimator macs",
    "no-scouts": "--space open --scouts 0 --fronts 3",
    "macs": "--space open --estimator macs --scouts 0 --fronts 3",
}


def baseline() -> Architecture:
    """Return seven convolutions of 3x3, which take half the time of a ResNet-50 of half width."""
    plain = Block(16, form="plain")
    stages = ((48, 1), (160, 2), (192, 3))
    return Architecture(10, 32, "3x3", 48, tuple(Stage(width, (plain,) * depth) for width, depth in stages))


def basic(width: float) -> Architecture:
    """Return a ResNet of basic blocks, two in each of three stages, ResNet-14 of He et al. at width 16."""
    stages = (rounded(channels * width) for channels in (16, 32, 64))
    blocks = tuple(Stage(one, (Block(one, form="basic"),) * 2) for one in stages)
    return Architecture(10, 32, "3x3", rounded(16 * width), blocks)


def plain(width: float) -> Architecture:
    """Return plain 3x3 convolutions, two in each of three stages, of which the first halves the image."""
    stages = (rounded(channels * width) for channels in (32, 64, 128))
    blocks = tuple(Stage(one, (Block(16, form="plain"),) * 2) for one in stages)
    return Architecture(10, 32, "3x3", rounded(16 * width), blocks, early_stride=True)


HAND_MADE = {"basic": basic, "plain": plain}


def pieces() -> list[str]:
    names = [*VARIANTS, *HAND_MADE]
    return ["baseline", *(f"{name}-{seed}" for seed in SEEDS for name in names)]


def prepared(images: Path, out: Path) -> None:
    """Split the training images, and store the test images."""
    split(images, out)
    recipe = replace(find_card("builtin-resnet50").input.recipe, size=32, crop_fraction=1.0)
    prepare(find_images(images / "test", 10), recipe, out / "store", "cifar10")


def train(out: Path, images: Path, name: str, shape: Architecture, epochs: int, seed: int) -> None:
    """Train a network from random weights in OUT/NAME."""
    (out / name).mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(shape.to_dict()), encoding="utf-8")
    words = ["train", "--task", "folder", "--train", "fit", "--test", str((images / "test").resolve())]
    words += ["--out", name, "--architecture", f"{name}.json", "--crop-fraction", "1", "--resume"]
    words += [*shlex.split(TRAINING), "--epochs", str(epochs), "--seed", str(seed)]
    subprocess.run(harness(*words), cwd=out, check=True)


def do(piece: str, images: Path, out: Path) -> None:
    """Do a piece, or what is missing of it."""
    if piece == "baseline":
        train(out, images, "baseline", baseline(), EPOCHS * 3 // 2, 1)
        return
    name, _, seed = piece.rpartition("-")
    if name in VARIANTS:
        words = [
            "search",
            "run",
            "--baseline",
            "baseline/card.toml",
            "--train",
            "fit",
            "--held-out",
            "held-out",
        ]
        words += ["--data", "store", "--out", piece, "--seed", seed, "--epochs", str(EPOCHS)]
        words += [*shlex.split(SEARCH), *shlex.split(VARIANTS[name])]
        subprocess.run(harness(*words), cwd=out, check=False)
        return
    pick = result.read(out / f"open-{seed}").searched
    shape = as_fast_as(pick.architecture, HAND_MADE[name])
    train(out, images, piece, shape, EPOCHS + 1, int(seed))
    words = ["quantize", "--model", f"{piece}/card.toml", "--data", "store", "--out", f"{piece}/int8"]
    subprocess.run(harness(*words), cwd=out, check=True)


def as_fast_as(pick: Architecture, make: Callable[[float], Architecture]) -> Architecture:
    """Return the widest network that takes no longer than the pick, measured beside it in INT8."""
    conditions = Conditions.of(Scenario.SINGLE_STREAM, 1)
    made = {one.key: one for one in (make(step / 8) for step in range(4, 65))}
    by_work = sorted(made.values(), key=Architecture.count_macs)
    low, high = 0, len(by_work) - 1
    while low < high:
        middle = (low + high + 1) // 2
        pick_ms, found_ms = stopwatch.measure_ms([pick, by_work[middle]], conditions, pick)
        low, high = (middle, high) if found_ms <= pick_ms else (low, middle - 1)
    return by_work[low]


def cards(out: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield name, seed and INT8 card of all that is finished."""
    for seed in SEEDS:
        for name in VARIANTS:
            for model in ("searched", "uniform"):
                path = out / f"{name}-{seed}" / "models" / model / "card.toml"
                if path.exists():
                    yield f"{name} {model}", seed, path
        for name in HAND_MADE:
            for path in (out / f"{name}-{seed}").glob("int8/*.toml"):
                yield name, seed, path


def report(out: Path) -> None:
    store = open_store(out / "store")
    right = {(name, seed): verdict.right(read_card(path), store) for name, seed, path in cards(out)}
    for (name, seed), answers in sorted(right.items()):
        print(f"{name}, seed {seed}: {100 * answers.mean():.2f} %")
    for other in sorted({name for name, _ in right} - {"open searched"}):
        pairs = [
            verdict.Pairing(seed, right["open searched", seed], right[other, seed])
            for seed in SEEDS
            if ("open searched", seed) in right and (other, seed) in right
        ]
        if pairs:
            found = verdict.over_seeds(pairs)
            print(
                f"open searched less {other}: {found.mean:+.2f} points, +/- {found.half_width:.2f}, over "
                f"{len(pairs)} seeds ({', '.join(f'{one:+.2f}' for one in found.points)})"
            )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, metavar="CIFAR", required=True, help="CIFAR-10's images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--list", action="store_true", help="name the pieces")
    parser.add_argument("pieces", nargs="*", metavar="PIECE")
    given = parser.parse_args()
    if given.list:
        print("\n".join(pieces()))
        return 0
    if unknown := set(given.pieces) - {*pieces(), "report"}:
        parser.error(f"there is no piece {', '.join(sorted(unknown))}: see --list")
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        for piece in given.pieces:
            if piece == "report":
                report(given.out)
            else:
                prepared(given.images, given.out)
                do(piece, given.images, given.out)
    except HarnessError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
