"""The search, from images to LoadGen: on the built-in task, as the shipped models were found, or on CIFAR-10.

    python benchmarks/search.py --out DIR [OPTION OF harness search run ...]
    python benchmarks/search.py --task cifar10 --images CIFAR --out DIR [OPTION OF harness search run ...]

Prepares everything in DIR and runs `harness search run` there; the same call goes on where an interrupted one
stopped. The images held out, which decide, are new to the baseline.

- builtin, an hour on two cores: draws the images that the shipped baseline learned from, and 6,000 others.
- cifar10: CIFAR holds train/CLASS/ and test/CLASS/. A tenth of each class of train/ is held out; the
  baseline, ResNet-50 with a 3x3 stem, is trained on the rest, for about four hours on two cores.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from harness import builtin
from harness.card import find_card
from harness.dataset import find_images
from harness.quickstart import BUILTIN_MODEL
from harness.store import prepare

BUILTIN_IMAGES = 40_000
"""The very images that the shipped baseline learned from."""
BUILTIN_HELD_OUT = 6_000
BUILTIN_OPTIONS = "--epochs 12"
CIFAR10_TRAINING = (
    "--task folder --train fit --resume --size 32 --crop-fraction 1 --width 1 --stem 3x3-pool --batch 128 "
    "--weight-decay 5e-4 --precision bf16 --name cifar10-resnet50"
)
CIFAR10_PHASES = (
    "--out first --epochs 26 --until-epoch 22 --learning-rate 0.1 --smallest-area 0.5 --first-size 24 "
    "--seed 1",
    "--out baseline --start-from first --epochs 16 --warmup-epochs 0 --learning-rate 0.05 "
    "--smallest-area 0.75 --seed 2",
)
"""Most of the epochs on small, much varied images; the last ones as a benchmark would show them."""
CIFAR10_OPTIONS = "--epochs 20"
OPTIONS = "--threads 1 --trials 2000 --shortlist 12 --finals 2 --rounds 9 --duration 4 --seed 1"


def builtin_task(out: Path) -> list[str]:
    """Draw the images; return the search's arguments, which name what lies in `out`."""
    builtin.generate(out / "train", BUILTIN_IMAGES, "train")
    builtin.generate(out / "held-out", BUILTIN_HELD_OUT, "held-out")
    images = find_images(builtin.generate(out / "images"), len(builtin.CLASSES))
    prepare(images, find_card(BUILTIN_MODEL).input.recipe, out / "store", "builtin")
    return ["--baseline", BUILTIN_MODEL, "--train", "train", *shlex.split(BUILTIN_OPTIONS)]


def cifar10_task(images: Path, out: Path) -> list[str]:
    """Split the images and train the baseline; return the search's arguments."""
    for folder in sorted(path for path in (images / "train").iterdir() if path.is_dir()):
        paths = sorted(folder.iterdir())
        held_out = len(paths) // 10
        for part, some in (("fit", paths[:-held_out]), ("held-out", paths[-held_out:])):
            link(some, out / part / folder.name)
    card = out / "baseline" / "card.toml"
    if not card.exists():
        words = ["train", "--test", str((images / "test").resolve()), *shlex.split(CIFAR10_TRAINING)]
        for phase in CIFAR10_PHASES:
            subprocess.run(harness(*words, *shlex.split(phase)), cwd=out, check=True)
    recipe = find_card(str(card)).input.recipe
    prepare(find_images(images / "test", 10), recipe, out / "store", "cifar10")
    return ["--baseline", "baseline/card.toml", "--train", "fit", *shlex.split(CIFAR10_OPTIONS)]


def link(paths: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())


def harness(*words: str) -> list[str]:
    """Return a command, which is also shown."""
    print(shlex.join(["harness", *words]), file=sys.stderr)
    return [sys.executable, "-m", "harness", *words]


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
    words = ["search", "run", *task, "--held-out", "held-out", "--data", "store", "--out", "searched"]
    return subprocess.run(harness(*words, *shlex.split(OPTIONS), *more), cwd=out, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
