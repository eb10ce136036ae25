"""The built-in task for detectors: drawn scenes of up to seven shapes, and the box of each."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.dataset import drawn_set
from harness.dataset.coco import ANNOTATIONS
from harness.dataset.drawing import FILLS, SHAPES, Dice, Figure, far_from, paint, paint_ground, photograph
from harness.dataset.drawn_set import SEED, SPLITS, DrawnSet

VERSION = 1
CLASSES = SHAPES
TEST_COUNT = 1000

_MOST_THINGS = 7
_TRIES = 12
_LAYOUT, _PAINT = range(2)
"""Which dice of an image: where things lie does not depend on how they are painted."""
_MARGIN = 2
"""Pixels between the boxes of two things."""
_LEAST_VISIBLE = 0.7
"""Share of a thing that lies in the picture."""


@dataclass(frozen=True)
class Thing:
    """A shape in a scene."""

    label: int
    """Its class, from 0."""
    fill: str
    figure: Figure
    box: tuple[int, int, int, int]
    """Left, top, right and bottom edge, in pixels, of what the picture shows of it."""
    area: int
    """Pixels of which it covers at least half."""


@dataclass(frozen=True)
class Scene:
    """What is in a picture, of `height` x `width` pixels."""

    height: int
    width: int
    things: tuple[Thing, ...]


def scene(split: str, index: int) -> Scene:
    """Return what image `index` (from 0) of a split shows, which depends on the two alone.

    Sides are 96 to 180 pixels. Things lie apart; some are cut by the edge, by 30 % at most.
    """
    dice = Dice(SEED, SPLITS.index(split), index, _LAYOUT)
    short = dice.between(96, 128)
    long = short * dice.between(100, 140) // 100
    height, width = (short, long) if dice.between(0, 1) else (long, short)
    things: list[Thing] = []
    for _ in range(dice.between(1, _MOST_THINGS)):
        for _ in range(_TRIES):
            found = _thing(dice, height, width)
            if found is not None and not any(_meet(found.box, other.box) for other in things):
                things.append(found)
                break
    return Scene(height, width, tuple(things))


def draw(split: str, index: int) -> NDArray[np.uint8]:
    """Return image `index` (from 0) of a split, u8 RGB of [height, width, 3], as `scene` describes it."""
    dice = Dice(SEED, SPLITS.index(split), index, _PAINT)
    shown = scene(split, index)
    unit = min(shown.height, shown.width) / 1000
    canvas = np.empty((3, shown.height, shown.width), np.float32)
    ground = dice.between(40, 215)
    paint_ground(canvas, dice, ground, unit)
    for thing in shown.things:
        paint(canvas, dice, thing.figure, thing.fill, far_from(dice, ground), unit)
    return photograph(canvas, dice)


def generate(out: Path, count: int = TEST_COUNT, split: str = "val", workers: int | None = None) -> Path:
    """Write the first `count` images of a split to the folder `out` and return it: see drawn_set.generate.

    They are `builtin_SPLIT_00000001.JPEG`, ..., and `annotations.json` has the boxes in COCO's format.
    """
    drawn = DrawnSet("builtin scenes", VERSION, draw, image_name, ANNOTATIONS)
    return drawn_set.generate(out, drawn, count, split, lambda: _annotations(split, count), workers)


def image_name(split: str, index: int) -> str:
    """Return the file name of image `index` (from 0) of a split."""
    return f"builtin_{split}_{index + 1:08d}.JPEG"


def _thing(dice: Dice, height: int, width: int) -> Thing | None:
    """Return a shape somewhere; None where too much of it would lie outside."""
    label = dice.between(0, len(CLASSES) - 1)
    radius = dice.between(60, 300) / 1000 * min(height, width)
    middle = dice.between(0, height), dice.between(0, width)
    figure = Figure.drawn(dice, CLASSES[label], radius, *middle)
    fill = FILLS[dice.between(0, len(FILLS) - 1)]
    shown = figure.cover(height, width) >= 0.5
    whole = Figure(**{**vars(figure), "top": 2 * radius, "left": 2 * radius}).cover(
        int(4 * radius + 4), int(4 * radius + 4)
    )
    area = int(np.count_nonzero(shown))
    if area < max(1, _LEAST_VISIBLE * np.count_nonzero(whole >= 0.5)):
        return None
    y0, _, x0, _ = figure.window(height, width)
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    box = (
        x0 + int(columns[0]),
        y0 + int(rows[0]),
        x0 + int(columns[-1]) + 1,
        y0 + int(rows[-1]) + 1,
    )
    return Thing(label, fill, figure, box, area)


def _meet(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return all(
        one[axis] < other[axis + 2] + _MARGIN and other[axis] < one[axis + 2] + _MARGIN for axis in range(2)
    )


def _annotations(split: str, count: int) -> str:
    """Return the boxes of a split in COCO's format; ids count from 1."""
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for index in range(count):
        shown = scene(split, index)
        images.append(
            {
                "id": index + 1,
                "file_name": image_name(split, index),
                "width": shown.width,
                "height": shown.height,
            }
        )
        for thing in shown.things:
            left, top, right, bottom = thing.box
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": index + 1,
                    "category_id": thing.label + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": thing.area,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    return json.dumps({"images": images, "annotations": boxes, "categories": categories}) + "\n"
