"""The search on the built-in task, as the shipped model `builtin-searched` was found: an hour on two cores.

    python benchmarks/search.py --out DIR [OPTION OF harness search run ...]

Draws the images into DIR, prepares the store of the test images there, and runs `harness search run` in DIR;
the same call goes on where an interrupted one stopped. The training images are those that the shipped
baseline learned from; the held-out ones, which decide, are new to it.
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

TRAINING_IMAGES = 40_000
"""The very images that the shipped baseline learned from."""
HELD_OUT_IMAGES = 6_000
OPTIONS = "--threads 1 --trials 2000 --shortlist 12 --epochs 12 --finals 2 --rounds 9 --duration 4 --seed 1"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    options, more = parser.parse_known_args()
    out = options.out
    builtin.generate(out / "train", TRAINING_IMAGES, "train")
    builtin.generate(out / "held-out", HELD_OUT_IMAGES, "held-out")
    images = find_images(builtin.generate(out / "images"), len(builtin.CLASSES))
    prepare(images, find_card(BUILTIN_MODEL).input.recipe, out / "store", "builtin")
    words = ["search", "run", "--baseline", BUILTIN_MODEL, "--train", "train", "--held-out", "held-out"]
    words += ["--data", "store", "--out", "searched", *shlex.split(OPTIONS), *more]
    print(shlex.join(["harness", *words]), file=sys.stderr)
    return subprocess.run([sys.executable, "-m", "harness", *words], cwd=out, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
