"""How many training images a second are decoded and cut, by how many loader processes.

    python benchmarks/loading.py --images FOLDER [--size 224] [--passes 3]

FOLDER holds JPEG images, one folder a class or with a val_map.txt. Nothing else is computed meanwhile. The
first images of each pass do not count.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from harness.dataset.images import count_classes, find_images
from harness.dataset.label_file import VAL_MAP
from harness.dataset.recipe import Recipe
from harness.training.data import Augmentation, Images, Order, batches

_BATCH = 32
_SKIPPED = 2
"""Batches that do not count."""


def images_per_s(images: Images, loaders: int, passes: int) -> list[float]:
    """Return the rate of each pass but the first, in which processes start."""
    order = Order(len(images), seed=1)
    loader = batches(images, order, _BATCH, loaders, whole=True)
    found = []
    for epoch in range(1 + passes):
        order.epoch = epoch
        count, started = 0, 0.0
        for number, (pixels, _) in enumerate(loader):
            if number == _SKIPPED:
                started = time.perf_counter()
            elif number > _SKIPPED:
                count += len(pixels)
        found.append(count / (time.perf_counter() - started))
    return found[1:]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--passes", type=int, default=3)
    given = parser.parse_args()
    classes = 1000 if (given.images / VAL_MAP).exists() else count_classes(given.images)
    images = Images(find_images(given.images, classes), Recipe(given.size, "area", 0.875), Augmentation())
    usual = 0.0
    for loaders in (0, 1, 2):
        rates = images_per_s(images, loaders, given.passes)
        middle = statistics.median(rates)
        usual = usual or middle
        times, spread = middle / usual, f"{min(rates):.0f} to {max(rates):.0f}"
        print(f"{loaders} loaders: {middle:.0f} images/s, {times:.2f} times ({spread})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
