"""The built-in scenes: drawn alike everywhere, with boxes that are exact."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.dataset import builtin, coco
from harness.dataset.drawing import Dice, paint
from harness.dataset.recipe import Recipe
from harness.dataset.scenes import CLASSES, draw, generate, image_name, scene
from harness.dataset.store import prepare
from harness.errors import OutputError

# After a deliberate change of the drawing raise scenes.VERSION, train again and renew these.
SAMPLES = (("val", 0), ("val", 999), ("train", 0), ("train", 3999))
DIGESTS = ("ba171b6d0833aa58", "9fa7c9bf869187f0", "08c20ff7ce170e9d", "a5a0476f89e90754")


def digest(split: str, index: int) -> str:
    pixels, boxes = draw(split, index), [(thing.label, thing.box) for thing in scene(split, index).things]
    return hashlib.sha256(repr((pixels.shape, boxes)).encode() + pixels.tobytes()).hexdigest()[:16]


def test_pixels_and_boxes_are_the_same_to_the_bit_as_ever() -> None:
    assert tuple(digest(*sample) for sample in SAMPLES) == DIGESTS


def test_a_box_is_what_a_thing_covers_of_the_picture_by_half_or_more() -> None:
    dark = -1e7  # far from any colour, so that a pixel tells how much of it is covered
    for index in range(60):
        shown = scene("val", index)
        for thing in shown.things:
            canvas = np.full((3, shown.height, shown.width), dark, np.float32)
            paint(canvas, Dice(index), thing.figure, thing.fill, 100, 0.1)
            rows, columns = (np.flatnonzero((canvas[0] > dark / 2).any(axis)) for axis in (1, 0))
            seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert tuple(seen) == thing.box


def test_things_lie_apart_and_in_the_picture() -> None:
    counts: Counter[int] = Counter()
    for index in range(200):
        shown = scene("train", index)
        taken = np.zeros((shown.height, shown.width), bool)
        for thing in shown.things:
            left, top, right, bottom = thing.box
            assert 0 <= left < right <= shown.width
            assert 0 <= top < bottom <= shown.height
            assert 0 < thing.area <= (right - left) * (bottom - top)
            assert not taken[top:bottom, left:right].any()
            taken[top:bottom, left:right] = True
            counts[thing.label] += 1
    assert counts.keys() == set(range(len(CLASSES)))
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_split_is_written_with_its_boxes_and_gone_on_with(tmp_path: Path) -> None:
    out = generate(tmp_path / "set", 5)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert before.keys() == {"builtin.json", coco.ANNOTATIONS, *(image_name("val", k) for k in range(5))}
    generate(out, 5)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    found = coco.find_annotated(out, coco.read(out / coco.ANNOTATIONS))
    assert len(found.annotations.boxes) == sum(len(scene("val", k).things) for k in range(5))
    made = prepare(found, Recipe(64, "linear", fit="letterbox"), tmp_path / "store", "builtin")
    assert made.image_ids == (1, 2, 3, 4, 5)


def test_a_folder_of_the_labelled_set_is_not_written_to(tmp_path: Path) -> None:
    builtin.generate(tmp_path / "set", 2)
    with pytest.raises(OutputError, match="holds another split or set"):
        generate(tmp_path / "set", 2)
