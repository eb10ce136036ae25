"""Detectors with real weights: the cards in the documentation, beside the files in the shared data."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
from openvino import opset13 as ops

from harness.dataset import coco
from harness.dataset.store import Store, prepare
from harness.model.card import Card, read_card

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "own-detector.md"
CARDS = {
    re.findall(r'^name = "(.*)"$', text, re.MULTILINE)[0]: text
    for text in re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
}
"""By name."""


def write_card(folder: Path, name: str, models: Path, *changes: tuple[str, str]) -> Path:
    """Write the card of a detector whose file lies in `models`, with texts of it replaced."""
    text = CARDS[name].replace('path = "', f'path = "{models}/')
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


CELLS, SIZE = 4, 32
"""The spotter sees images of 32 pixels as 4 x 4 cells."""
KINDS = (3, 1, 7)
"""Category ids of red, green and blue cells."""

SPOTTER = """
name = "spotter"
benchmark = "yolo"
task = "detection"
[file]
path = "spotter.xml"
[input]
size = 32
layout = "NHWC"
element_type = "u8"
channels = "RGB"
resize = "linear"
fit = "letterbox"
mean = [0.0, 0.0, 0.0]
scale = [1.0, 1.0, 1.0]
[output]
decoder = "yolo"
classes = 3
class_map = [3, 1, 7]
score_threshold = 0.3
iou_threshold = 0.5
max_detections = 10
[accuracy]
metric = "map"
reference = 1.0
target_fraction = 0.99
"""


@dataclass(frozen=True)
class Spotter:
    """A detector that finds cells of one colour exactly, and images of which most have some."""

    card_path: Path
    store: Store

    @property
    def card(self) -> Card:
        return read_card(self.card_path)


def spotter_model(batch: int = 1, nan_red: int | None = None) -> ov.Model:
    """Return a model that gives for each cell its box, and the means of its colours as scores.

    With `nan_red`, the scores of cells of that red are NaN.
    """
    side = SIZE // CELLS
    pixels = ops.parameter([batch, SIZE, SIZE, 3], np.uint8, name="pixels")
    cells = ops.reshape(ops.convert(pixels, np.float32), np.array([0, CELLS, side, CELLS, side, 3]), True)
    means = ops.reshape(ops.reduce_mean(cells, np.array([2, 4]), False), np.array([0, CELLS**2, 3]), True)
    scores = ops.multiply(means, np.float32(1 / 255))
    if nan_red is not None:
        is_nan = ops.less(ops.abs(ops.subtract(means, np.float32(nan_red))), np.float32(1))
        scores = ops.select(is_nan, np.float32(np.nan), scores)
    down, across = np.divmod(np.arange(CELLS**2), CELLS)
    boxes = np.stack([(across + 0.5) * side, (down + 0.5) * side, *[np.full(CELLS**2, side)] * 2])
    scores = ops.transpose(scores, np.array([0, 2, 1]))
    nothing = ops.multiply(ops.reduce_max(scores, np.array([1]), True), np.float32(0))
    answer = ops.concat([ops.add(nothing, boxes[None].astype(np.float32)), scores], 1)
    return ov.Model([ops.result(answer)], [pixels], "spotter")


def make_spotter(folder: Path, count: int = 24, missed: int = 0, **options: int) -> Spotter:
    """Make a spotter, and `count` images of 64 x 32 pixels; `missed` of the boxes in them are dark.

    The images fill rows 1 and 2 of the cells. Image k has k % 3 boxes, a cell each; the scores differ.
    """
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for number in range(count):
        image = np.zeros((32, 64, 3), np.uint8)
        for place in range(number % 3):
            cell = (number + 3 * place) % 8
            kind, (y, x) = (number + place) % 3, divmod(cell, 4)
            bright = 250 - 2 * number if len(boxes) >= missed else 40
            image[16 * y : 16 * y + 16, 16 * x : 16 * x + 16, kind] = bright
            box = [16 * x, 16 * y, 16, 16]
            boxes.append(
                {"id": len(boxes) + 1, "image_id": 100 + number, "category_id": KINDS[kind], "bbox": box}
            )
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / "images" / name), image[..., ::-1])
        images.append({"id": 100 + number, "file_name": name, "width": 64, "height": 32})
    categories = [{"id": kind, "name": str(kind)} for kind in KINDS]
    document = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "boxes.json").write_text(json.dumps(document))
    ov.save_model(spotter_model(**options), folder / "spotter.xml", compress_to_fp16=False)
    card_path = folder / "spotter.toml"
    card_path.write_text(SPOTTER)
    found = coco.find_annotated(folder / "images", coco.read(folder / "boxes.json"))
    return Spotter(card_path, prepare(found, read_card(card_path).input.recipe, folder / "store", "coco"))
