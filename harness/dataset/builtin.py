"""The built-in task: 24 classes of drawn images, written as JPEG files in ImageNet's layout."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.dataset import drawn_set
from harness.dataset.drawing import FILLS, SHAPES, Dice, picture
from harness.dataset.drawn_set import SEED, SPLITS, DrawnSet
from harness.dataset.label_file import VAL_MAP

VERSION = 1
CLASSES = tuple(f"{shape}-{fill}" for shape in SHAPES for fill in FILLS)
TEST_COUNT = 2000


def draw(split: str, index: int) -> tuple[NDArray[np.uint8], int]:
    """Return image `index` (from 0) of a split, u8 RGB of H x W x 3 with sides of 80 to 130, and its label.

    The pixels depend on the split and the index alone, and any run of 24 images holds each class once.
    """
    label = index % len(CLASSES)
    shape, fill = CLASSES[label].split("-")
    return picture(Dice(SEED, SPLITS.index(split), index), shape, fill), label


def generate(out: Path, count: int = TEST_COUNT, split: str = "val", workers: int | None = None) -> Path:
    """Write the first `count` images of a split to the folder `out` and return it: see drawn_set.generate.

    Split "val" gives `builtin_val_00000001.JPEG`, ... and `val_map.txt` with lines of `name label`; the
    others give a folder per class.
    """

    def truth() -> str:
        return "".join(f"{image_name(split, index)} {index % len(CLASSES)}\n" for index in range(count))

    drawn = DrawnSet("builtin", VERSION, _pixels, image_name, VAL_MAP)
    return drawn_set.generate(out, drawn, count, split, truth if split == "val" else None, workers)


def image_name(split: str, index: int) -> str:
    """Return the path of image `index` (from 0) below the folder of its split."""
    name = f"builtin_{split}_{index + 1:08d}.JPEG"
    return name if split == "val" else f"{CLASSES[index % len(CLASSES)]}/{name}"


def _pixels(split: str, index: int) -> NDArray[np.uint8]:
    return draw(split, index)[0]
